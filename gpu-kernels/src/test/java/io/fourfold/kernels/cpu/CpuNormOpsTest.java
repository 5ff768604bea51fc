package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.differences;
import static io.fourfold.kernels.cpu.OperationFixture.dot;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static io.fourfold.kernels.cpu.OperationFixture.plus;
import static io.fourfold.kernels.cpu.OperationFixture.tolerance;

import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.tensor.DType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class CpuNormOpsTest {
    private static final float EPS = 1e-5f;

    private final OperationFixture fixture = new OperationFixture(2);
    private final NormOps ops = fixture.backend.norm();

    @AfterEach
    void close() {
        fixture.close();
    }

    @ParameterizedTest
    @CsvSource({"FP32, 0, 8", "FP32, 1, 1", "FP32, 3, 13", "BF16, 5, 32", "FP32, 2, 257"})
    void rmsNormAndItsGradient(DType dtype, int rows, int width) {
        CpuTensor x = fixture.gaussian(dtype, 3, rows, width);
        CpuTensor weight = fixture.gaussian(DType.FP32, 1, width);
        CpuTensor y = fixture.empty(dtype, rows, width);
        CpuTensor rstd = fixture.empty(DType.FP32, rows);
        ops.rmsNorm(x, weight, EPS, y, rstd);
        assertClose(y, norm(doubles(x), doubles(weight)), tolerance(dtype));

        CpuTensor dy = fixture.gaussian(dtype, 1, rows, width);
        CpuTensor dx = fixture.empty(dtype, rows, width);
        CpuTensor dweight = fixture.gaussian(DType.FP32, 1, width);
        double[] dweightBefore = doubles(dweight);
        ops.rmsNormBackward(dy, x, weight, rstd, dx, false, dweight);
        double[] d = doubles(dy);
        double[] expected = differences(at -> dot(d, norm(at, doubles(weight))), doubles(x));
        assertClose(dx, expected, tolerance(dtype));
        double[] expectedWeight = differences(at -> dot(d, norm(doubles(x), at)), doubles(weight));
        assertClose(dweight, plus(dweightBefore, expectedWeight), 1e-5);

        CpuTensor residual = fixture.gaussian(dtype, 1, rows, width);
        double[] before = doubles(residual);
        ops.rmsNormBackward(dy, x, weight, rstd, residual, true, dweight);
        assertClose(residual, plus(before, expected), tolerance(dtype));
    }

    private static double[] norm(double[] x, double[] weight) {
        int width = weight.length;
        double[] y = new double[x.length];
        for (int row = 0; row < x.length; row += width) {
            double squares = 0;
            for (int i = 0; i < width; i++) {
                squares += x[row + i] * x[row + i];
            }
            double rstd = 1 / Math.sqrt(squares / width + EPS);
            for (int i = 0; i < width; i++) {
                y[row + i] = x[row + i] * rstd * weight[i];
            }
        }
        return y;
    }

    @ParameterizedTest
    @CsvSource({"FP32, 4, 2, 6, 3", "BF16, 2, 1, 8, 2", "FP32, 1, 1, 2, 0"})
    void headNormAndItsGradient(DType dtype, int heads, int kvHeads, int dim, int rows) {
        int width = (heads + 2 * kvHeads) * dim;
        CpuTensor qkv = fixture.gaussian(dtype, 2, rows, width);
        CpuTensor wq = fixture.gaussian(DType.FP32, 1, dim);
        CpuTensor wk = fixture.gaussian(DType.FP32, 1, dim);
        CpuTensor y = fixture.empty(dtype, rows, width);
        CpuTensor rstd = fixture.empty(DType.FP32, rows, heads + kvHeads);
        ops.headNorm(qkv, heads, kvHeads, wq, wk, EPS, y, rstd);
        Heads layout = new Heads(heads, kvHeads, dim);
        assertClose(y, layout.norm(doubles(qkv), doubles(wq), doubles(wk)), tolerance(dtype));

        CpuTensor dy = fixture.gaussian(dtype, 1, rows, width);
        double[] d = doubles(dy);
        CpuTensor dwq = fixture.zeros(DType.FP32, dim);
        CpuTensor dwk = fixture.zeros(DType.FP32, dim);
        // In place, as the interface allows.
        ops.headNormBackward(dy, qkv, heads, kvHeads, wq, wk, rstd, dy, dwq, dwk);
        double[] x = doubles(qkv);
        assertClose(dy, differences(at -> dot(d, layout.norm(at, doubles(wq), doubles(wk))), x), tolerance(dtype));
        assertClose(dwq, differences(at -> dot(d, layout.norm(x, at, doubles(wk))), doubles(wq)), 1e-5);
        assertClose(dwk, differences(at -> dot(d, layout.norm(x, doubles(wq), at)), doubles(wk)), 1e-5);
    }

    private record Heads(int heads, int kvHeads, int dim) {
        double[] norm(double[] x, double[] wq, double[] wk) {
            double[] y = x.clone();
            int width = (heads + 2 * kvHeads) * dim;
            for (int row = 0; row < x.length; row += width) {
                for (int head = 0; head < heads + kvHeads; head++) {
                    int at = row + head * dim;
                    double[] part =
                            CpuNormOpsTest.norm(java.util.Arrays.copyOfRange(x, at, at + dim), head < heads ? wq : wk);
                    System.arraycopy(part, 0, y, at, dim);
                }
            }
            return y;
        }
    }
}
