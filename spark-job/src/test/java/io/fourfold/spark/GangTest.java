package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.train.TrainingException;
import java.util.List;
import java.util.Map;
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
    void ranksOfSeveralProcessesKnowEachOther() {
        String[] messages = {member("a", -1, "0", 0), member("b", -1, "1", 1)};
        Gang gang = Gang.of(messages);
        assertThat(gang.isOneJvm()).isFalse();
        assertThat(gang.addresses().get(1).getHostString()).isEqualTo("b.net");
        assertThat(gang.addresses().get(1).getPort()).isEqualTo(4001);
        assertThat(gang.secret())
                .hasSize(32)
                .isEqualTo(Gang.of(new String[] {messages[1], messages[0]}).secret())
                .isNotEqualTo(Gang.of(new String[] {messages[0]}).secret());
        assertThat(Gang.of(new String[] {member("a", -1, "0", 0), member("a", -1, "0", 1)})
                        .isOneJvm())
                .isTrue();
    }

    @Test
    void theOddRankIsNamed() {
        String other = new Gang.Member(
                        "c",
                        -1,
                        "",
                        "7",
                        "jvm",
                        2,
                        "c.net",
                        1,
                        "s",
                        Map.of("program version", "0.9", "Java version", "17"),
                        "")
                .toJson();
        assertThatThrownBy(() -> Gang.of(new String[] {other, member("a", -1, "0", 0), member("b", -1, "1", 1)}))
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining(
                        "program version is 1.0 on 2 of 3 ranks, but rank 2 on c (executor 7) has 0.9. Submit one")
                .hasMessageNotContaining("Java version");
    }

    @Test
    void tasksOnHostsLeftOutGetNoRank() {
        String[] messages = {member("a", -1, "0", 0), member("b", -1, "1", 1), member("c", -1, "2", 2)};
        Gang gang = Gang.of(messages, List.of("a.net"), 2);
        assertThat(gang.rank(0)).isEqualTo(-1);
        assertThat(gang.rank(1)).isZero();
        assertThat(gang.rank(2)).isEqualTo(1);
        // Slots beyond the ranks stay unused, too.
        assertThat(Gang.of(messages, List.of(), 2).rank(2)).isEqualTo(-1);
        assertThatThrownBy(() -> Gang.of(messages, List.of("a.net", "b.net"), 2))
                .isInstanceOf(HostsNotLeftOut.class)
                .hasMessageContaining("only 1 of 2 ranks are on hosts that are not left out (a.net, b.net)");
    }

    /** Every executor is a process. */
    private static String member(String host, int device, String executor, int partition) {
        Map<String, String> facts = Map.of("program version", "1.0", "Java version", "17");
        return new Gang.Member(
                        host,
                        device,
                        device < 0 ? "" : "GPU-" + host + device,
                        executor,
                        "jvm-" + executor,
                        partition,
                        host + ".net",
                        4000 + partition,
                        "secret-" + partition,
                        facts,
                        "")
                .toJson();
    }
}
