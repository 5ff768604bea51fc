package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.train.TrainingException;
import io.fourfold.train.restart.AttemptException;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.SparkException;
import org.apache.spark.scheduler.SparkListenerTaskStart;
import org.apache.spark.scheduler.TaskInfo;
import org.apache.spark.scheduler.TaskLocality;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** Partitions 0, 1, 2 run on hosts a.net, b.net, c.net. */
class GangFailureTest {
    private static final SparkException CANCELLED = new SparkException("Job 3 cancelled part of cancelled job group x");
    private static final SparkException LOST = new SparkException("""
            Job aborted due to stage failure: Could not recover from a failed barrier ResultStage.\
             Most recent failure reason: Stage failed because barrier task ResultTask(0, 1) finished unsuccessfully.
            ExecutorLostFailure (executor 11 exited caused by one of the running tasks) Reason: Command exited with code 134
            Driver stacktrace:""");

    @Test
    void whatARankSaysIsTheCauseAndOthersItsConsequences() {
        AttemptException failure = of(CANCELLED, consequence(0), failed(1, new IllegalStateException("disk on fire")));
        assertThat(failure.host()).isEqualTo("b.net");
        assertThat(failure.error())
                .isInstanceOfSatisfying(
                        TrainingException.class,
                        e -> assertThat(e.code()).isEqualTo(TrainingException.Code.TRAIN_RANK_FAILED))
                .hasMessageContaining("rank 1 on host1 failed")
                .hasMessageContaining("disk on fire")
                .hasMessageContaining("(rank 0 stopped as a consequence)")
                .hasCauseInstanceOf(IllegalStateException.class);
    }

    @Test
    void aLostExecutorIsTheCauseOfBrokenConnections() {
        AttemptException failure = of(LOST, consequence(0));
        assertThat(failure.host()).isEqualTo("b.net");
        assertThat(failure.error())
                .hasMessageStartingWith("TRAIN_RANK_LOST: executor 11 on b.net was lost: Command exited with code 134")
                .hasMessageContaining("(rank 0 stopped as a consequence)");
    }

    @Test
    void aRankThatDoesNotEndIsNamedByThoseThatWaitedForIt() {
        SparkException stuck = new SparkException("""
                Job aborted due to stage failure: Could not recover from a failed barrier ResultStage.
                io.fourfold.train.TrainingException: TRAIN_RANK_LOST: rank 1 on b hangs. Ranks [1] have not ended
                \tat io.fourfold.spark.RankTask""");
        assertThat(of(stuck, consequence(0)).error())
                .hasMessage("TRAIN_RANK_LOST: rank 1 on b hangs. Ranks [1] have not ended");
    }

    @Test
    void aCancelledJobIsNotWorthARestart() {
        AttemptException failure = of(CANCELLED);
        assertThat(failure.host()).isNull();
        assertThat(failure.error()).hasMessageStartingWith("TRAIN_LAUNCH: ").hasMessageContaining("cancelled");
    }

    private static RankReport consequence(int rank) {
        return failed(rank, new CommunicationException("group 'world': rank 1 is gone"));
    }

    private static RankReport failed(int rank, Throwable failure) {
        return new RankReport(rank, "host" + rank, 100 - rank, null, failure);
    }

    /** Ranks equal partitions here. */
    private static AttemptException of(@Nullable Exception aborted, RankReport... reports) {
        GangTasks places = new GangTasks();
        for (int partition = 0; partition < 3; partition++) {
            String host = "abc".charAt(partition) + ".net";
            TaskInfo task = new TaskInfo(
                    partition, partition, 0, partition, 0, "1" + partition, host, TaskLocality.ANY(), false);
            places.onTaskStart(new SparkListenerTaskStart(0, 0, task));
        }
        Map<Integer, RankReport> byPartition = new TreeMap<>();
        for (RankReport report : reports) {
            byPartition.put(report.rank(), report);
        }
        return GangFailure.of(byPartition, 3, places, aborted);
    }
}
