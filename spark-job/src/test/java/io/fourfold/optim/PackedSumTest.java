package io.fourfold.optim;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PackedSumTest {
    private static final int RANKS = 4;

    private static float[] gradients(int rank, int part) {
        Random random = new Random(rank);
        float[] values = new float[RANKS * part];
        for (int i = 0; i < values.length; i++) {
            // Magnitudes over ten powers of two, as small as gradients are.
            values[i] = (float) (random.nextGaussian() * Math.scalb(1.0, -20 - random.nextInt(10)));
        }
        return values;
    }

    /** Parts with and without an end of a row of 128. */
    @ParameterizedTest
    @ValueSource(ints = {1, 128, 149, 384})
    void everySumIsWithinTheStatedError(int part) throws Exception {
        List<InProcessWorld> worlds = InProcessWorld.create(RANKS);
        ExecutorService threads = Executors.newFixedThreadPool(RANKS);
        try {
            List<Future<float[]>> futures = worlds.stream()
                    .map(world -> threads.submit(() -> sum(world, part)))
                    .toList();
            int element = 0;
            for (Future<float[]> future : futures) {
                for (float sum : future.get()) {
                    check(element++, sum, part);
                }
            }
            assertThat(element).isEqualTo(RANKS * part);
        } finally {
            threads.shutdownNow();
            worlds.forEach(InProcessWorld::close);
        }
    }

    private static float[] sum(InProcessWorld world, int part) {
        try (Backend backend = new CpuBackend(1);
                TensorScope scope = backend.scope(Region.GRADIENTS)) {
            Communicator group =
                    world.group("dp", IntStream.range(0, RANKS).boxed().toList());
            Tensor gradients = scope.allocate(DType.FP32, RANKS * part);
            backend.upload(gradients(world.rank(), part), gradients);
            Tensor sums = scope.zeros(DType.FP32, Shape.flat(part));
            try (PackedSum packed = new PackedSum(backend, group, gradients)) {
                packed.move();
                packed.finish(sums);
            }
            return backend.download(sums);
        }
    }

    private static void check(int element, float actual, int part) {
        double sum = 0;
        double error = 0;
        for (int rank = 0; rank < RANKS; rank++) {
            float[] values = gradients(rank, part);
            double largest = 0;
            for (float value : values) {
                largest = Math.max(largest, Math.abs(value));
            }
            sum += values[element];
            error += 0x1p-4 * Math.abs(values[element]) + 0x1p-17 * largest;
        }
        assertThat(Math.abs(actual - sum)).as("element %d", element).isLessThanOrEqualTo(error * (1 + 1e-6));
    }
}
