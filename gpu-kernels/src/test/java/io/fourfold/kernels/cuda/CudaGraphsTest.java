package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.RepeatedWork;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.function.IntConsumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** What is recorded, what is not, and that the results are right either way. */
@Tag("gpu")
class CudaGraphsTest {
    private static final int TIMES = 6;
    /** Met, recorded, and launched from then on. */
    private static final int LAUNCHED = TIMES - 2;

    private CudaBackend backend;
    private TensorScope scope;
    private CudaTensor out;

    @BeforeEach
    void open() {
        String reason = CudaDevice.unavailableBecause();
        if (reason != null) {
            Assumptions.abort("no CUDA graphs: " + reason);
        }
        backend = new CudaBackend(0);
        scope = backend.scope(Region.ACTIVATIONS);
        out = CudaTensor.of(scope.zeros(DType.FP32, 1000));
    }

    @AfterEach
    void close() {
        if (backend != null) {
            scope.close();
            backend.close();
        }
    }

    private record Work(Object key, int number, IntConsumer queued) implements RepeatedWork {
        @Override
        public int[] numbers() {
            return new int[] {number};
        }

        @Override
        public int[] otherNumbers() {
            return new int[] {number + 100};
        }

        @Override
        public void queue(int[] numbers) {
            queued.accept(numbers[0]);
        }
    }

    /** Runs the work with the numbers 1, 2, ... and looks at the result each time. */
    private void run(IntConsumer queued) {
        run("work", queued);
    }

    private void run(Object key, IntConsumer queued) {
        for (int number = 1; number <= TIMES; number++) {
            backend.repeat(new Work(key, number, queued));
            assertThat(backend.download(out)).as("time %d", number).containsOnly(number);
        }
    }

    /** Fills an integer and turns it into a float through temporary memory. */
    private void through(int number) {
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            CudaTensor integers = CudaTensor.of(work.allocate(DType.INT32, 1000));
            backend.elementwise().fill(integers, number);
            backend.elementwise().copy(integers, out);
        }
    }

    @Test
    void launchesWhatWasRecordedWithTheNumbersOfTheTime() {
        run(this::through);
        assertThat(backend.graphLaunches()).isEqualTo(LAUNCHED);
    }

    @Test
    void recordsNothingWhoseArgumentsAreComputedFromANumber() {
        run(number -> {
            through(3 * number);
            through(number);
        });
        assertThat(backend.graphLaunches()).isZero();
    }

    @Test
    void recordsNothingThatReadsOrWritesOnTheHost() {
        run("reads", number -> {
            through(number);
            assertThat(backend.download(out)).containsOnly(number);
        });
        run("writes", number -> {
            int[] host = new int[1000];
            Arrays.fill(host, number);
            try (TensorScope work = backend.scope(Region.WORKSPACE)) {
                CudaTensor integers = CudaTensor.of(work.allocate(DType.INT32, 1000));
                backend.upload(host, integers);
                backend.elementwise().copy(integers, out);
            }
        });
        assertThat(backend.graphLaunches()).isZero();
    }

    @Test
    void recordsNothingThatIsLaunchedOtherwiseWithOtherNumbers() {
        run(number -> {
            if (number > TIMES) {
                through(7);
            }
            through(number);
        });
        assertThat(backend.graphLaunches()).isZero();
    }

    /** The graph's temporary memory may belong to somebody else now. */
    @Test
    void recordsAgainWhereOtherMemoryIsInUse() {
        run(this::through);
        try (TensorScope other = backend.scope(Region.WORKSPACE)) {
            CudaTensor taken = CudaTensor.of(other.allocate(DType.FP32, 1000));
            backend.elementwise().fill(taken, 5f);
            run(this::through);
            assertThat(backend.download(taken)).containsOnly(5f);
        }
        assertThat(backend.graphLaunches()).isEqualTo(2 * LAUNCHED);
        run(this::through);
        assertThat(backend.graphLaunches()).isEqualTo(2 * LAUNCHED + TIMES);
    }

    /** More pieces of work than graphs are kept, and so many that none comes back in time. */
    @Test
    void forgetsTheOldestGraphs() {
        for (int key = 0; key < 100; key++) {
            run(key, this::through);
        }
        assertThat(backend.graphLaunches()).isEqualTo(100 * LAUNCHED);
        for (int round = 0; round < 3; round++) {
            for (int key = 0; key < 100; key++) {
                backend.repeat(new Work(key, key + 1, this::through));
                assertThat(backend.download(out)).containsOnly(key + 1);
            }
        }
        assertThat(backend.graphLaunches()).isEqualTo(100 * LAUNCHED);
    }

    @Test
    void queuesPieceByPieceForATraceOfThePieces() {
        run(this::through);
        CudaTrace trace = backend.runtime().device().trace();
        trace.startWhole();
        backend.repeat(new Work("work", 8, this::through));
        assertThat(trace.stop().entries()).extracting(CudaTrace.Entry::name).containsExactly("graph");
        assertThat(backend.download(out)).containsOnly(8);
        trace.start();
        backend.repeat(new Work("work", 9, this::through));
        assertThat(trace.stop().entries()).extracting(CudaTrace.Entry::name).contains("fill_words");
        assertThat(backend.download(out)).containsOnly(9);
        assertThat(backend.graphLaunches()).isEqualTo(LAUNCHED + 1);
    }
}
