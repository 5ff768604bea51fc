package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Assumptions;

/**
 * Both backends with the same inputs, for parity tests: what the CPU oracle computes, the GPU must compute. Without a GPU
 * the test is skipped and the reason printed.
 */
final class CudaPair implements AutoCloseable {
    final Backend cpu;
    final CudaBackend cuda;
    final TensorScope cpuScope;
    final TensorScope cudaScope;
    final Random random;

    private CudaPair(long seed) {
        cpu = new CpuBackend(4);
        cuda = new CudaBackend(0);
        cpuScope = cpu.scope(Region.ACTIVATIONS);
        cudaScope = cuda.scope(Region.ACTIVATIONS);
        random = new Random(seed);
    }

    /** Skips the test where there is no GPU. */
    static CudaPair open(long seed) {
        String reason = CudaDevice.unavailableBecause();
        if (reason != null) {
            Assumptions.abort("no GPU parity test: " + reason);
        }
        return new CudaPair(seed);
    }

    /** One tensor per backend, with the same values. */
    record Twin(Tensor cpu, Tensor cuda) {
        Twin view(long offset, int... dims) {
            return new Twin(cpu.view(offset, Shape.of(dims)), cuda.view(offset, Shape.of(dims)));
        }
    }

    Twin floats(DType dtype, float[] values, int... dims) {
        Twin twin = new Twin(cpuScope.allocate(dtype, dims), cudaScope.allocate(dtype, dims));
        cpu.upload(values, twin.cpu);
        cuda.upload(values, twin.cuda);
        return twin;
    }

    Twin ints(int... values) {
        Twin twin =
                new Twin(cpuScope.allocate(DType.INT32, values.length), cudaScope.allocate(DType.INT32, values.length));
        cpu.upload(values, twin.cpu);
        cuda.upload(values, twin.cuda);
        return twin;
    }

    /** NaN everywhere, so that what an operation leaves out shows. */
    Twin poison(DType dtype, int... dims) {
        float[] values = new float[(int) Shape.of(dims).elements()];
        Arrays.fill(values, Float.NaN);
        return floats(dtype, values, dims);
    }

    Twin gaussian(DType dtype, double scale, int... dims) {
        return floats(dtype, gaussianValues(scale, (int) Shape.of(dims).elements()), dims);
    }

    float[] gaussianValues(double scale, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (random.nextGaussian() * scale);
        }
        return values;
    }

    /** Values over many magnitudes with zeros, minus zeros, blocks of zeros, ties and denormals among them. */
    float[] awkwardValues(int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = switch (random.nextInt(12)) {
                case 0 -> 0f;
                case 1 -> -0f;
                case 2 -> (float) (random.nextGaussian() * Math.pow(2, random.nextInt(40) - 30));
                case 3 -> (random.nextInt(25) - 12) * 0.25f;
                case 4 -> 1e-41f * random.nextInt(100);
                default -> (float) random.nextGaussian();
            };
        }
        for (int i = 0; i < count / 200; i++) {
            int start = random.nextInt(Math.max(1, count - 16)) / 16 * 16;
            Arrays.fill(values, start, Math.min(count, start + 16), 0f);
        }
        return values;
    }

    /** A grouped operand of the GPU with its codes as values, also where it holds FP8 bytes. */
    CudaGroupedOperand decoded(GroupedOperand operand) {
        return (CudaGroupedOperand) new Fp8Decoder(cuda.runtime()).decoded(operand, cudaScope);
    }

    /** Operands of the two backends have the same size and, decoded, the same bits. */
    void assertSameValues(String what, GemmOperand expected, GemmOperand actual) {
        assertThat(actual.rows()).as(what).isEqualTo(expected.rows());
        assertThat(actual.depth()).as(what).isEqualTo(expected.depth());
        Twin out = poison(DType.FP32, expected.rows(), expected.depth());
        cpu.quantize().dequantize(expected, out.cpu());
        cuda.quantize().dequantize(actual, out.cuda());
        assertSameBits(what, out.cpu(), out.cuda());
    }

    /** The same bits everywhere; NaN equals NaN. */
    void assertSameBits(String what, Tensor expected, Tensor actual) {
        assertSameBits(what, cpu.download(expected), cuda.download(actual));
    }

    static void assertSameBits(String what, float[] expected, float[] actual) {
        assertThat(actual.length).as(what).isEqualTo(expected.length);
        for (int i = 0; i < expected.length; i++) {
            if (Float.floatToIntBits(expected[i]) != Float.floatToIntBits(actual[i])) {
                assertThat(actual[i])
                        .as(
                                "%s, element %d of %d (expected bits %08x, got %08x)",
                                what,
                                i,
                                expected.length,
                                Float.floatToRawIntBits(expected[i]),
                                Float.floatToRawIntBits(actual[i]))
                        .isEqualTo(expected[i]);
            }
        }
    }

    /** ||actual - expected|| / ||expected|| at most {@code tolerance}; a NaN fails unless both have one there. */
    static void assertClose(String what, float[] expected, float[] actual, double tolerance) {
        assertThat(actual.length).as(what).isEqualTo(expected.length);
        double error = 0;
        double size = 0;
        int worst = 0;
        double largest = 0;
        for (int i = 0; i < expected.length; i++) {
            if (Float.isNaN(expected[i]) && Float.isNaN(actual[i])) {
                continue;
            }
            assertThat(actual[i])
                    .as("%s, element %d of %d", what, i, expected.length)
                    .isFinite();
            double difference = (double) actual[i] - expected[i];
            worst = Math.abs(difference) > largest ? i : worst;
            largest = Math.max(largest, Math.abs(difference));
            error += difference * difference;
            size += (double) expected[i] * expected[i];
        }
        double relative = Math.sqrt(error) / Math.max(Math.sqrt(size), 1e-30);
        System.out.printf(
                "%-70s relative error %.2e (at most %.1e)%n", what, size == 0 ? Math.sqrt(error) : relative, tolerance);
        assertThat(size == 0 ? Math.sqrt(error) : relative)
                .as("%s, off by %s at element %d", what, largest, worst)
                .isLessThanOrEqualTo(tolerance);
    }

    void assertClose(String what, Tensor expected, Tensor actual, double tolerance) {
        assertClose(what, cpu.download(expected), cuda.download(actual), tolerance);
    }

    @Override
    public void close() {
        cpuScope.close();
        cudaScope.close();
        cpu.close();
        cuda.close();
    }
}
