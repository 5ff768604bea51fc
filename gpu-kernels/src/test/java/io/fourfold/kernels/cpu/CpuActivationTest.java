package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.differences;
import static io.fourfold.kernels.cpu.OperationFixture.dot;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static io.fourfold.kernels.cpu.OperationFixture.tolerance;

import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.DType;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class CpuActivationTest {
    private final OperationFixture fixture = new OperationFixture(6);
    private final MoeOps ops = fixture.backend.moe();

    @AfterEach
    void close() {
        fixture.close();
    }

    @ParameterizedTest
    @CsvSource({
        "SWIGLU, FP32, 5, 7, true",
        "SWIGLU, FP32, 1, 1, false",
        "SWIGLU, BF16, 3, 16, true",
        "SWIGLU, FP32, 0, 4, true",
        "RELU2, FP32, 5, 7, true",
        "RELU2, BF16, 2, 9, true",
        "RELU2, FP32, 1, 3, false"
    })
    void activationAndItsGradient(Activation kind, DType dtype, int rows, int width, boolean weighted) {
        int inWidth = width * kind.inputFactor();
        CpuTensor in = fixture.gaussian(dtype, 3, rows, inWidth);
        CpuTensor given = fixture.gaussian(DType.FP32, 1, rows);
        CpuTensor probability = weighted ? given : null;
        double[] p = doubles(given);
        if (!weighted) {
            Arrays.fill(p, 1);
        }
        CpuTensor out = fixture.empty(dtype, rows, width);
        ops.activation(kind, in, probability, out);
        double[] x = doubles(in);
        assertClose(out, activate(kind, x, p, width), tolerance(dtype));

        CpuTensor dout = fixture.gaussian(dtype, 1, rows, width);
        double[] d = doubles(dout);
        CpuTensor dp = weighted ? fixture.empty(DType.FP32, rows) : null;
        double[] expected = differences(at -> dot(d, activate(kind, at, p, width)), x);
        double[] expectedP = differences(at -> dot(d, activate(kind, x, at, width)), p);
        // In place: the gradient may overwrite the input.
        ops.activationBackward(kind, dout, in, probability, in, dp);
        assertClose(in, expected, tolerance(dtype));
        if (dp != null) {
            assertClose(dp, expectedP, 1e-5);
        }
    }

    private static double[] activate(Activation kind, double[] x, double[] p, int width) {
        double[] out = new double[p.length * width];
        for (int i = 0; i < out.length; i++) {
            int row = i / width * width * kind.inputFactor();
            double first = x[row + i % width];
            double value = switch (kind) {
                case SWIGLU -> first / (1 + Math.exp(-first)) * x[row + width + i % width];
                case RELU2 -> Math.max(first, 0) * Math.max(first, 0);
            };
            out[i] = value * p[i / width];
        }
        return out;
    }
}
