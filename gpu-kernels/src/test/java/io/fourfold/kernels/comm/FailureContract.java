package io.fourfold.kernels.comm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.comm.RankThreads.Outcome;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** For every transport: whatever goes wrong on one rank reaches all of them, with the reason, and nobody hangs. */
@Timeout(30)
abstract class FailureContract {
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    /** A world of its own for every call. */
    abstract List<? extends WatchableWorld> create(int size, Duration timeout) throws Exception;

    private List<? extends WatchableWorld> create(int size) throws Exception {
        return create(size, PATIENCE);
    }

    @Test
    void abortWakesEveryWaiterWithTheFirstReason() throws Exception {
        List<Outcome<Boolean>> outcomes = RankThreads.outcomes(create(4), world -> {
            Communicator group = world.group("dp", RankThreads.all(4));
            if (world.rank() == 3) {
                Thread.sleep(50);
                world.abort("loss is NaN in layer 7");
                world.abort("a later reason");
            }
            if (world.rank() == 1) {
                group.receive(floats(3), 3);
            }
            group.allReduce(floats(10), ReduceOp.SUM);
            return true;
        });
        assertAllFail(outcomes, "loss is NaN in layer 7");
    }

    @Test
    void operationsAfterAnAbortFail() throws Exception {
        CommunicationWorld world = create(1).get(0);
        Communicator group = world.group("dp", List.of(0));
        world.abort("stop");
        assertThatThrownBy(() -> group.barrier())
                .isInstanceOf(CommunicationException.class)
                .hasMessageContaining("stop");
        assertThatThrownBy(() -> world.group("ep", List.of(0))).isInstanceOf(CommunicationException.class);
    }

    @Test
    void differentOperationsAreNamed() throws Exception {
        List<Outcome<Boolean>> outcomes = RankThreads.outcomes(create(2), world -> {
            Communicator group = world.group("ep", RankThreads.all(2));
            if (world.rank() == 0) {
                group.allReduce(floats(4), ReduceOp.SUM);
            } else {
                group.allGather(floats(2), floats(4));
            }
            return true;
        });
        assertAllFail(outcomes, "rank 0 called allReduce(SUM, FP32[4]) but world rank 1 called allGather(FP32[2])");
    }

    @Test
    void differentSizesTypesAndCountsAreNamed() throws Exception {
        assertAllFail(both((group, rank) -> group.allReduce(floats(4 + rank), ReduceOp.SUM)), "different sizes");
        assertAllFail(both((group, rank) -> group.broadcast(floats(4), rank)), "different operations");
        assertAllFail(
                both((group, rank) -> group.allReduce(
                        CpuTensor.ofFloats(rank == 0 ? DType.FP32 : DType.BF16, new float[1], Shape.of(1)),
                        ReduceOp.SUM)),
                "BF16[1]");
        long[] oneAndTwo = {1, 2};
        assertAllFail(
                both((group, rank) -> group.allToAllV(floats(3), oneAndTwo, floats(3), oneAndTwo)),
                "counts sent and counts expected differ");
        assertAllFail(
                both((group, rank) -> group.allGatherV(floats(1 + rank), floats(3 + rank), new long[] {1 + rank, 2})),
                "different counts");
    }

    @Test
    void argumentErrorsBreakTheOthersToo() throws Exception {
        assertAllFail(
                both((group, rank) -> group.reduceScatter(floats(rank == 0 ? 4 : 5), floats(2), ReduceOp.SUM)),
                "reduceScatter of FP32[5] into FP32[2]");
        assertAllFail(
                both((group, rank) -> {
                    if (rank == 0) {
                        group.send(floats(3), 1);
                        group.barrier();
                    } else {
                        group.receive(floats(2), 0);
                    }
                }),
                "receives FP32[2], but member 0 sent FP32[3]");
    }

    @Test
    void interruptSurfacesAndBreaksTheWorld() throws Exception {
        List<? extends WatchableWorld> worlds = create(3);
        Thread[] waiting = new Thread[1];
        CountDownLatch started = new CountDownLatch(1);
        List<Outcome<Boolean>> outcomes = RankThreads.outcomes(worlds, world -> {
            Communicator group = world.group("dp", RankThreads.all(3));
            if (world.rank() == 0) {
                waiting[0] = Thread.currentThread();
                started.countDown();
                try {
                    group.barrier();
                } finally {
                    assertThat(Thread.interrupted()).isTrue();
                }
            } else if (world.rank() == 1) {
                group.barrier();
            } else {
                started.await();
                Thread.sleep(50);
                waiting[0].interrupt();
                Thread.sleep(50);
                group.barrier();
            }
            return true;
        });
        assertAllFail(outcomes, "interrupted in barrier()");
    }

    @Test
    void aRankThatLeavesBreaksThoseWhoWaitForIt() throws Exception {
        List<Outcome<Boolean>> outcomes = RankThreads.outcomes(create(2), world -> {
            Communicator group = world.group("dp", RankThreads.all(2));
            if (world.rank() == 0) {
                group.allReduce(floats(1), ReduceOp.SUM);
            }
            return true;
        });
        assertThat(outcomes.get(0).failure())
                .isInstanceOf(CommunicationException.class)
                .hasMessageContaining("which have left");
        assertThat(outcomes.get(1).failure()).isNull();
    }

    @Test
    void aTimeoutNamesTheMissingRanks() throws Exception {
        List<? extends WatchableWorld> worlds = create(2, Duration.ofMillis(100));
        CountDownLatch finished = new CountDownLatch(1);
        List<Outcome<Boolean>> outcomes = RankThreads.outcomes(worlds, world -> {
            Communicator group = world.group("dp", RankThreads.all(2));
            if (world.rank() == 0) {
                try {
                    group.allReduce(floats(1), ReduceOp.SUM);
                } finally {
                    finished.countDown();
                }
            } else {
                finished.await();
            }
            return true;
        });
        assertThat(outcomes.get(0).failure()).hasMessageContaining("not there: world ranks [1]");
    }

    @Test
    void aTimeoutFindsTheRankAtTheEndOfTheChain() throws Exception {
        List<? extends WatchableWorld> worlds = create(3, Duration.ofMillis(300));
        CountDownLatch finished = new CountDownLatch(2);
        List<Outcome<Boolean>> outcomes = RankThreads.outcomes(worlds, world -> {
            try {
                if (world.rank() == 0) {
                    world.group("dp", List.of(0, 1)).allReduce(floats(1), ReduceOp.SUM);
                } else if (world.rank() == 1) {
                    world.group("ep", List.of(1, 2)).barrier();
                }
            } finally {
                finished.countDown();
            }
            finished.await();
            while (worlds.get(world.rank()).abortReason() == null) {
                Thread.sleep(5);
            }
            return true;
        });
        for (int rank = 0; rank < 2; rank++) {
            assertThat(outcomes.get(rank).failure())
                    .hasMessageContaining("waited 300 ms without progress in ")
                    .hasMessageContaining("world rank 2 is late: in no operation for 0.")
                    .hasMessageContaining("raise run.timeouts.step_seconds");
        }
        assertThat(worlds).allSatisfy(world -> {
            assertThat(world.lateRanks()).containsExactly(2);
            assertThat(world.abortReason()).contains("is late");
        });
        assertThat(worlds.get(0).activity().describe()).contains("in #0 dp allReduce(SUM, FP32[1]) for ");
    }

    @Test
    void departuresAreSeen() throws Exception {
        List<? extends WatchableWorld> worlds = create(3);
        worlds.get(1).close();
        assertThat(worlds.get(0).leave(Duration.ofMillis(100))).containsExactly(2);
        assertThat(worlds.get(2).leave(PATIENCE)).isEmpty();
        assertThat(worlds.get(0).leave(PATIENCE)).isEmpty();
        worlds.get(2).close();
        worlds.get(0).close();
    }

    @Test
    void groupsWorkConcurrentlyAndNamesCanBeReused() throws Exception {
        RankThreads.run(create(4), world -> {
            int rank = world.rank();
            Communicator pair = world.group("pair", rank < 2 ? List.of(0, 1) : List.of(2, 3));
            Communicator again = world.group("pair", rank < 2 ? List.of(0, 1) : List.of(2, 3));
            Communicator cross = world.group("cross", rank % 2 == 0 ? List.of(0, 2) : List.of(1, 3));
            List<Throwable> failures = new ArrayList<>();
            Thread other = new Thread(() -> repeatSums(cross, rank % 2 == 0 ? 2f : 4f, rank));
            other.setUncaughtExceptionHandler((thread, failure) -> failures.add(failure));
            other.start();
            repeatSums(pair, rank < 2 ? 1f : 5f, rank);
            other.join();
            assertThat(failures).isEmpty();
            CpuTensor value = floats(1);
            again.allReduce(value, ReduceOp.MAX);
            return true;
        });
    }

    private static void repeatSums(Communicator group, float expected, int rank) {
        for (int i = 0; i < 200; i++) {
            CpuTensor value = CpuTensor.ofFloats(DType.FP32, new float[] {rank}, Shape.of(1));
            group.allReduce(value, ReduceOp.SUM);
            assertThat(value.floats()[0]).isEqualTo(expected);
        }
    }

    @Test
    void refusesWrongGroups() throws Exception {
        CommunicationWorld world = create(2).get(0);
        assertThatThrownBy(() -> world.group("g", List.of(1))).hasMessageContaining("not a member");
        assertThatThrownBy(() -> world.group("g", List.of(1, 0))).hasMessageContaining("ascending");
        assertThatThrownBy(() -> world.group("g", List.of(0, 2))).hasMessageContaining("below 2");
    }

    /** What both members of a pair do. */
    private interface PairBody {
        void run(Communicator group, int rank);
    }

    private List<Outcome<Boolean>> both(PairBody body) throws Exception {
        return RankThreads.outcomes(create(2), world -> {
            body.run(world.group("ep", RankThreads.all(2)), world.rank());
            world.group("ep", RankThreads.all(2)).barrier();
            return true;
        });
    }

    static void assertAllFail(List<Outcome<Boolean>> outcomes, String reason) {
        for (Outcome<Boolean> outcome : outcomes) {
            assertThat(outcome.failure())
                    .isInstanceOf(CommunicationException.class)
                    .hasMessageContaining(reason);
        }
    }

    static CpuTensor floats(int n) {
        return CpuTensor.ofFloats(DType.FP32, new float[n], Shape.of(n));
    }
}
