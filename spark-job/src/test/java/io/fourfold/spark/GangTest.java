package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.train.TrainingException;
import java.util.List;
import org.junit.jupiter.api.Test;

class GangTest {
    @Test
    void ranksFollowHostAndDeviceWhateverThePartition() {
        Gang gang = Gang.of(new String[] {
            member("b", 1, "3", 0), member("a", 1, "1", 1), member("b", 0, "2", 2), member("a", 0, "0", 3)
        });
        assertThat(gang.rank(3)).isZero();
        assertThat(gang.rank(1)).isEqualTo(1);
        assertThat(gang.rank(2)).isEqualTo(2);
        assertThat(gang.rank(0)).isEqualTo(3);
    }

    @Test
    void severalProcessesAreNotThereYet() {
        Gang gang = Gang.of(new String[] {member("a", -1, "0", 0), member("a", -1, "1", 1)});
        assertThatThrownBy(gang::requireOneJvm)
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("several executor JVMs come in a later version")
                .hasMessageContaining("local[2]");
    }

    @Test
    void anotherConfigurationIsRefused() {
        String other = new Gang.Member("b", -1, "1", "jvm", 1, "other", "1.0").toJson();
        assertThatThrownBy(() -> Gang.of(new String[] {member("a", -1, "0", 0), other}))
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("another configuration or program version");
    }

    @Test
    void theFirstCauseWinsOverItsConsequences() {
        RankReport consequence =
                new RankReport(0, "a", 100, null, new CommunicationException("rank 1 failed: disk on fire"));
        RankReport cause = new RankReport(1, "b", 120, null, new IllegalStateException("disk on fire"));
        TrainingException failure = GangFailure.of(List.of(consequence, cause));
        assertThat(failure.code()).isEqualTo(TrainingException.Code.TRAIN_RANK_FAILED);
        assertThat(failure)
                .hasMessageContaining("rank 1 on b failed")
                .hasMessageContaining("disk on fire")
                .hasMessageContaining("(rank 0 stopped as a consequence)")
                .hasCauseInstanceOf(IllegalStateException.class);
    }

    /** Every executor is a process. */
    private static String member(String host, int device, String executor, int partition) {
        return new Gang.Member(host, device, executor, "jvm-" + executor, partition, "hash", "1.0").toJson();
    }
}
