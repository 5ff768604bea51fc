package io.fourfold.train.restart;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.config.ConfigException;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.DataException;
import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainResult;
import io.fourfold.train.TrainingException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.TreeMap;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class RestartLoopTest {
    private static final TrainResult DONE = new TrainResult("run", 0, 6, 24, 384, 1.5, Double.NaN, "c", 6, false, 1);

    private final Cluster cluster = new Cluster();
    private final List<String> console = new ArrayList<>();
    private final Map<String, String> settings = new TreeMap<>(Map.of("parallel.world_size", "4"));

    @Test
    void aFreshGangContinuesAfterAFailure() {
        cluster.fail(lost("executor 2 on b was lost: exit code 134\nmore"), "b", 7, 5);
        assertThat(run()).isSameAs(DONE);
        assertThat(cluster.attempts)
                .containsExactly(
                        Attempt.first(4),
                        new Attempt(2, 4, List.of(), "TRAIN_RANK_LOST: executor 2 on b was lost: exit code 134"));
        assertThat(console)
                .containsExactly("restart 1 of 10 in 1.0 s: TRAIN_RANK_LOST: executor 2 on b was lost: exit code 134;"
                        + " continues after step 5");
        assertThat(cluster.waited).containsExactly(Duration.ofSeconds(1));
    }

    @Test
    void theWaitDoublesWithoutProgressUpToItsCapAndStartsAgainWithIt() {
        set("run.restart.max_backoff_seconds", "3");
        for (int step : new int[] {9, 5, 4, 3, 10}) {
            cluster.fail(lost("gone"), null, step, 2);
        }
        run();
        assertThat(cluster.waited).extracting(Duration::toSeconds).containsExactly(1L, 2L, 3L, 3L, 1L);
    }

    @Test
    void theSameStepTwiceEndsTheRun() {
        cluster.fail(lost("first"), "a", 7, 5);
        cluster.fail(lost("second"), "b", 7, 5);
        assertThatThrownBy(this::run)
                .isInstanceOfSatisfying(
                        TrainingException.class,
                        e -> assertThat(e.code()).isEqualTo(TrainingException.Code.TRAIN_GAVE_UP))
                .hasMessageContaining("gave up after 1 restart: it failed twice at step 8")
                .hasMessageContaining("newest: step 5")
                .hasMessageContaining("second")
                .hasCauseInstanceOf(TrainingException.class);
    }

    @Test
    void unknownStepsAreNotTheSameStep() {
        cluster.fail(lost("first"), "a", -1, 0);
        cluster.fail(lost("second"), "a", -1, 0);
        assertThat(run()).isSameAs(DONE);
        assertThat(console).first().asString().endsWith("continues from the start");
    }

    @Test
    void theBudgetEndsTheRun() {
        set("run.restart.max_restarts", "2");
        for (int step = 1; step <= 3; step++) {
            cluster.fail(lost("failure " + step), null, step, 0);
        }
        assertThatThrownBy(this::run)
                .hasMessageContaining("gave up after 2 restarts: run.restart.max_restarts is 2")
                .hasMessageContaining("There is no checkpoint yet; remove the cause")
                .hasMessageNotContaining("Complete checkpoints remain")
                .hasMessageContaining("failure 3");
        assertThat(cluster.attempts).hasSize(3);
    }

    @Test
    void whatWouldFailAgainIsNotTriedAgain() {
        for (RuntimeException error : List.of(
                new ConfigException(List.of()),
                new CheckpointException("does not belong to this run"),
                new TrainingException(TrainingException.Code.TRAIN_SETUP, "no space"),
                new TrainingException(TrainingException.Code.TRAIN_LAUNCH, "cancelled"),
                new TrainingException(TrainingException.Code.TRAIN_NON_FINITE, "loss is NaN"),
                new TrainingException(
                        TrainingException.Code.TRAIN_RANK_FAILED, "rank 0", new CheckpointException("corrupt")))) {
            cluster.fail(error, "a", 3, 2);
            assertThatThrownBy(this::run).isSameAs(error);
        }
        set("run.restart.max_restarts", "0");
        cluster.fail(lost("gone"), "a", 3, 2);
        assertThatThrownBy(this::run).hasMessage("TRAIN_RANK_LOST: gone");
        assertThat(console).isEmpty();
    }

    @Test
    void damagedDataAreReadTwice() {
        DataException damaged = new DataException("shard 3 is truncated");
        TrainingException error = new TrainingException(
                TrainingException.Code.TRAIN_RANK_FAILED, "rank 1 failed: shard 3 is truncated", damaged);
        cluster.fail(error, null, 5, 4);
        cluster.fail(error, null, 6, 4);
        assertThatThrownBy(this::run).hasMessageContaining("the data gave the same error twice");
    }

    @Test
    void aLossThatIsNotFiniteIsTriedAgainWhenAskedTo() {
        set("run.restart.on_non_finite", "restart");
        cluster.fail(new TrainingException(TrainingException.Code.TRAIN_NON_FINITE, "loss is NaN"), null, 3, 2);
        assertThat(run()).isSameAs(DONE);
    }

    @Test
    void aHostThatFailsRepeatedlyIsLeftOut() {
        set("run.restart.exclude_host_after", "2");
        cluster.slots = leftOut -> leftOut.contains("b") ? 4 : 6;
        cluster.fail(lost("first"), "b", 4, 2);
        cluster.fail(lost("second"), "b", 4, 2);
        assertThat(run()).isSameAs(DONE);
        assertThat(cluster.attempts)
                .extracting(Attempt::leftOutHosts)
                .containsExactly(List.of(), List.of(), List.of("b"));
        assertThat(console).last().asString().contains("; leaves out host b; continues");
    }

    @Test
    void aHostStaysWhenThereAreTooFewSlotsElsewhere() {
        set("run.restart.exclude_host_after", "1");
        cluster.slots = leftOut -> leftOut.contains("b") ? 3 : 6;
        cluster.fail(lost("first"), "b", 4, 2);
        assertThat(run()).isSameAs(DONE);
        assertThat(cluster.attempts).extracting(Attempt::leftOutHosts).containsExactly(List.of(), List.of());
    }

    @Test
    void executorsGetTimeToComeBack() {
        cluster.slots = leftOut -> cluster.nanos > 30_000_000_000L ? 4 : 3;
        cluster.fail(lost("gone"), "a", 4, 2);
        assertThat(run()).isSameAs(DONE);
        assertThat(cluster.attempts).last().extracting(Attempt::worldSize).isEqualTo(4);
        assertThat(cluster.nanos).isBetween(30_000_000_000L, 31_000_000_000L);
    }

    @Test
    void fewerRanksGoOnWhenAllowed() {
        set("run.restart.min_world_size", "2");
        cluster.slots = leftOut -> 3;
        cluster.fail(lost("gone"), "a", 4, 2);
        assertThat(run()).isSameAs(DONE);
        assertThat(cluster.attempts).last().extracting(Attempt::worldSize).isEqualTo(2);
        assertThat(console)
                .last()
                .isEqualTo(
                        "only 3 of 4 slots came back in 120 s: continues with 2 ranks, the global batch stays the same");
    }

    @Test
    void tooFewExecutorsEndTheRun() {
        cluster.slots = leftOut -> 3;
        cluster.fail(lost("gone"), "a", 4, 2);
        assertThatThrownBy(this::run)
                .hasMessageContaining(
                        "after 120 s only 3 of 4 slots are there (run.restart.min_world_size would allow");
    }

    @Test
    void anInterruptDuringTheWaitEndsTheRun() {
        cluster.fail(lost("gone"), "a", 4, 2);
        cluster.interrupted = true;
        assertThatThrownBy(this::run).hasMessage("TRAIN_RANK_LOST: gone");
        assertThat(Thread.interrupted()).isTrue();
    }

    private void set(String key, String value) {
        settings.put(key, value);
    }

    private TrainResult run() {
        FourfoldConfig config = TinyRun.tinyConfig(settings);
        return new RestartLoop(config, cluster, cluster, console::add).run();
    }

    private static TrainingException lost(String message) {
        return new TrainingException(
                TrainingException.Code.TRAIN_RANK_LOST, message, new CommunicationException("broken"));
    }

    /** Gangs that fail as told, then succeed; time passes only in sleeps. */
    private static final class Cluster implements Gangs, Pause {
        private record Planned(AttemptException failure, int lastStep, int checkpoint) {}

        private final List<Planned> planned = new ArrayList<>();
        private final List<Attempt> attempts = new ArrayList<>();
        private final List<Duration> waited = new ArrayList<>();
        private Function<Collection<String>, Integer> slots = leftOut -> 4;
        private long nanos;
        private int lastStep;
        private int checkpoint;
        private boolean interrupted;

        void fail(RuntimeException error, @Nullable String host, int last, int newest) {
            planned.add(new Planned(new AttemptException(error, host), last, newest));
        }

        @Override
        public TrainResult launch(Attempt attempt) throws AttemptException {
            attempts.add(attempt);
            if (planned.isEmpty()) {
                return DONE;
            }
            Planned failure = planned.remove(0);
            lastStep = failure.lastStep();
            checkpoint = failure.checkpoint();
            throw failure.failure();
        }

        @Override
        public int slots(Collection<String> leftOutHosts) {
            return slots.apply(leftOutHosts);
        }

        @Override
        public OptionalInt lastStep() {
            return lastStep < 0 ? OptionalInt.empty() : OptionalInt.of(lastStep);
        }

        @Override
        public int newestCheckpoint() {
            return checkpoint;
        }

        @Override
        public long nanoTime() {
            return nanos;
        }

        @Override
        public void sleep(Duration duration) throws InterruptedException {
            if (interrupted) {
                throw new InterruptedException();
            }
            nanos += duration.toNanos();
            if (duration.toMillis() != 200) {
                waited.add(duration);
            }
        }
    }
}
