package io.fourfold.bench.operations;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Random;

/**
 * A tensor of normal numbers that repeat every {@link #PERIOD} elements, so that filling it takes no longer than the
 * measurement and the host knows every element without asking the device. The period is odd: rows never repeat in step.
 */
final class RandomData {
    private static final int PERIOD = (1 << 20) - 3;

    private final Tensor tensor;
    private final float[] block;

    private RandomData(Tensor tensor, float[] block) {
        this.tensor = tensor;
        this.block = block;
    }

    /** Normal numbers, exactly representable in the type. */
    static RandomData normal(
            Backend backend, TensorScope scope, Random random, DType type, double deviation, int... dims) {
        return of(backend, scope.allocate(type, dims), random, deviation, false);
    }

    /** Magnitudes of normal numbers. */
    static RandomData positive(
            Backend backend, TensorScope scope, Random random, DType type, double deviation, int... dims) {
        return of(backend, scope.allocate(type, dims), random, deviation, true);
    }

    private static RandomData of(Backend backend, Tensor tensor, Random random, double deviation, boolean positive) {
        float[] block = new float[(int) Math.min(PERIOD, tensor.elements())];
        for (int i = 0; i < block.length; i++) {
            float value = (float) (deviation * random.nextGaussian());
            value = positive ? Math.abs(value) : value;
            block[i] = tensor.dtype() == DType.BF16 ? BFloat16.round(value) : value;
        }
        RandomData data = new RandomData(tensor, block);
        data.fill(backend);
        return data;
    }

    /** Writes the values (again, where an operation changed them). */
    void fill(Backend backend) {
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            Tensor source = work.allocate(tensor.dtype(), block.length);
            backend.upload(block, source);
            for (long at = 0; at < tensor.elements(); at += block.length) {
                Shape part = Shape.of((int) Math.min(block.length, tensor.elements() - at));
                backend.elementwise().copy(source.view(0, part), tensor.view(at, part));
            }
        }
    }

    Tensor tensor() {
        return tensor;
    }

    /** Element {@code index} of the tensor read flat. */
    double at(long index) {
        return block[(int) (index % block.length)];
    }

    /** Elements {@code from, ..., from + count - 1}. */
    float[] slice(long from, int count) {
        float[] values = new float[count];
        int at = (int) (from % block.length);
        for (int i = 0; i < count; i++) {
            values[i] = block[at];
            at = at + 1 == block.length ? 0 : at + 1;
        }
        return values;
    }

    /** Row {@code r} of the tensor read as a matrix. */
    float[] row(long r) {
        int cols = tensor.shape().cols();
        return slice(r * cols, cols);
    }

    /** FP64 sum of products. */
    static double dot(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += (double) a[i] * b[i];
        }
        return sum;
    }
}
