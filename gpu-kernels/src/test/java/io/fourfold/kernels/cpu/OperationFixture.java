package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Random;
import java.util.function.ToDoubleFunction;

/**
 * A backend whose memory is poisoned, seeded inputs and the two comparisons of the operation tests.
 *
 * <p>An operation computes in FP32 and its reference in FP64, written naively from the formula. A gradient is checked
 * against central differences of that FP64 reference, not of the operation: with a step of 1e-5 their error is about
 * 1e-10 (truncation h^2, cancellation 1e-16/h), far below FP32's, so the tolerance only has to cover FP32 rounding of
 * the operation. The forward comparison ties operation and reference together.
 */
final class OperationFixture implements AutoCloseable {
    private static final double STEP = 1e-5;

    final CpuBackend backend = new CpuBackend(1, true);
    final TensorScope scope = backend.scope(Region.ACTIVATIONS);
    final Random random;

    OperationFixture(long seed) {
        this.random = new Random(seed);
    }

    /** Normally distributed values times {@code scale}, in a view that does not start at the array's first element. */
    CpuTensor gaussian(DType dtype, double scale, int... dims) {
        CpuTensor tensor = empty(dtype, dims);
        float[] values = new float[tensor.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (random.nextGaussian() * scale);
        }
        backend.upload(values, tensor);
        return tensor;
    }

    /** Contents are poison; the view starts inside its array. */
    CpuTensor empty(DType dtype, int... dims) {
        Shape shape = Shape.of(dims);
        Tensor wider = scope.allocate(dtype, Math.toIntExact(shape.elements() + 5));
        return CpuTensor.of(wider.view(5, shape));
    }

    CpuTensor zeros(DType dtype, int... dims) {
        CpuTensor tensor = empty(dtype, dims);
        backend.elementwise().fill(tensor, 0f);
        return tensor;
    }

    CpuTensor floats(float[] values, int... dims) {
        CpuTensor tensor = empty(DType.FP32, dims);
        backend.upload(values, tensor);
        return tensor;
    }

    CpuTensor ints(int[] values, int... dims) {
        CpuTensor tensor = empty(DType.INT32, dims);
        backend.upload(values, tensor);
        return tensor;
    }

    CpuTensor randomInts(int bound, int... dims) {
        CpuTensor tensor = empty(DType.INT32, dims);
        backend.upload(random.ints(tensor.size(), 0, bound).toArray(), tensor);
        return tensor;
    }

    CpuTensor copy(CpuTensor tensor) {
        CpuTensor copied = empty(tensor.dtype(), tensor.shape().dims());
        backend.elementwise().copy(tensor, copied);
        return copied;
    }

    static double[] doubles(CpuTensor tensor) {
        double[] values = new double[tensor.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = tensor.floats()[tensor.offset() + i];
        }
        return values;
    }

    int[] read(CpuTensor tensor) {
        return backend.downloadInts(tensor);
    }

    int[] readInts(CpuTensor tensor) {
        return backend.downloadInts(tensor);
    }

    float[] readFloats(CpuTensor tensor) {
        return backend.download(tensor);
    }

    /** Every element within {@code tolerance} times the largest magnitude expected, or 0.01 where all is smaller: inputs are of order 1. */
    static void assertClose(CpuTensor actual, double[] expected, double tolerance) {
        assertThat(actual.size()).isEqualTo(expected.length);
        double largest = 1e-2;
        for (double value : expected) {
            largest = Math.max(largest, Math.abs(value));
        }
        double[] values = doubles(actual);
        for (int i = 0; i < expected.length; i++) {
            double error = Math.abs(values[i] - expected[i]);
            assertThat(error)
                    .as("element %d of %s: %s, expected %s, largest %s", i, actual, values[i], expected[i], largest)
                    .isLessThanOrEqualTo(tolerance * largest);
        }
    }

    /** Relative tolerance for one rounding to the type: FP32 arithmetic of a few hundred steps, or one BF16 rounding. */
    static double tolerance(DType dtype) {
        return dtype == DType.BF16 ? 0x1p-8 : 1e-5;
    }

    /** Central differences of a scalar function at x. */
    static double[] differences(ToDoubleFunction<double[]> function, double[] x) {
        double[] at = x.clone();
        double[] gradient = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            double step = STEP * Math.max(1, Math.abs(x[i]));
            at[i] = x[i] + step;
            double above = function.applyAsDouble(at);
            at[i] = x[i] - step;
            double below = function.applyAsDouble(at);
            at[i] = x[i];
            gradient[i] = (above - below) / (2 * step);
        }
        return gradient;
    }

    static double dot(double[] a, double[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += a[i] * b[i];
        }
        return sum;
    }

    static double[] plus(double[] a, double[] b) {
        double[] sum = a.clone();
        for (int i = 0; i < sum.length; i++) {
            sum[i] += b[i];
        }
        return sum;
    }

    @Override
    public void close() {
        scope.close();
        backend.close();
    }
}
