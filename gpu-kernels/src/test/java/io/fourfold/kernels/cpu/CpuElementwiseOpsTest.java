package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.differences;
import static io.fourfold.kernels.cpu.OperationFixture.dot;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static io.fourfold.kernels.cpu.OperationFixture.plus;
import static io.fourfold.kernels.cpu.OperationFixture.tolerance;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.tensor.DType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

final class CpuElementwiseOpsTest {
    private final OperationFixture fixture = new OperationFixture(1);
    private final ElementwiseOps ops = fixture.backend.elementwise();

    @AfterEach
    void close() {
        fixture.close();
    }

    @Test
    void copyConvertsAndRounds() {
        CpuTensor wide = fixture.gaussian(DType.FP32, 1, 37);
        CpuTensor narrow = fixture.empty(DType.BF16, 37);
        ops.copy(wide, narrow);
        float[] expected = fixture.readFloats(wide);
        for (int i = 0; i < expected.length; i++) {
            expected[i] = BFloat16.round(expected[i]);
        }
        assertThat(fixture.readFloats(narrow)).isEqualTo(expected);
        CpuTensor back = fixture.empty(DType.FP32, 37);
        ops.copy(narrow, back);
        assertThat(fixture.readFloats(back)).isEqualTo(expected);
        CpuTensor numbers = fixture.ints(new int[] {3, -1}, 2);
        CpuTensor asFloats = fixture.empty(DType.FP32, 2);
        ops.copy(numbers, asFloats);
        assertThat(fixture.readFloats(asFloats)).containsExactly(3f, -1f);
        assertThatThrownBy(() -> ops.copy(wide, asFloats)).hasMessageContaining("copying FP32[37] to FP32[2]");
    }

    @Test
    void fillRoundsToTheType() {
        CpuTensor narrow = fixture.empty(DType.BF16, 3);
        ops.fill(narrow, 1.003f);
        assertThat(fixture.readFloats(narrow)).containsOnly(BFloat16.round(1.003f));
        CpuTensor numbers = fixture.empty(DType.INT32, 3);
        ops.fill(numbers, -1f);
        assertThat(fixture.read(numbers)).containsOnly(-1);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 5, 33})
    void sumsAndBias(int rows) {
        CpuTensor a = fixture.gaussian(DType.BF16, 1, rows, 7);
        CpuTensor b = fixture.gaussian(DType.BF16, 1, rows, 7);
        CpuTensor out = fixture.empty(DType.FP32, rows, 7);
        ops.add(a, b, out);
        assertClose(out, plus(doubles(a), doubles(b)), 1e-6);
        CpuTensor rounded = fixture.empty(DType.BF16, rows, 7);
        ops.add(a, b, rounded);
        ops.copy(out, a);
        assertThat(fixture.readFloats(rounded)).isEqualTo(fixture.readFloats(a));

        double[] before = doubles(out);
        ops.addScaled(b, -0.5f, out);
        double[] scaled = doubles(b);
        for (int i = 0; i < scaled.length; i++) {
            scaled[i] *= -0.5;
        }
        assertClose(out, plus(before, scaled), 1e-6);

        CpuTensor bias = fixture.gaussian(DType.FP32, 1, 7);
        before = doubles(out);
        ops.addBias(bias, out);
        for (int i = 0; i < before.length; i++) {
            before[i] += doubles(bias)[i % 7];
        }
        assertClose(out, before, 1e-6);
        double[] sums = doubles(bias);
        for (int i = 0; i < before.length; i++) {
            sums[i % 7] += doubles(out)[i];
        }
        ops.biasBackward(out, bias);
        assertClose(bias, sums, 1e-5);
    }

    @Test
    void embeddingAndItsGradient() {
        CpuTensor table = fixture.gaussian(DType.FP32, 1, 11, 6);
        CpuTensor tokens = fixture.ints(new int[] {3, 0, 3, 10}, 4);
        CpuTensor out = fixture.empty(DType.BF16, 4, 6);
        ops.embedding(tokens, table, out);
        CpuTensor dout = fixture.gaussian(DType.BF16, 1, 4, 6);
        CpuTensor dtable = fixture.zeros(DType.FP32, 11, 6);
        ops.embeddingBackward(tokens, dout, dtable);
        double[] expected = new double[66];
        int[] ids = {3, 0, 3, 10};
        for (int i = 0; i < 24; i++) {
            int at = ids[i / 6] * 6 + i % 6;
            assertThat(fixture.readFloats(out)[i]).isEqualTo(BFloat16.round(fixture.readFloats(table)[at]));
            expected[at] += doubles(dout)[i];
        }
        assertClose(dtable, expected, 1e-6);
        CpuTensor wrong = fixture.ints(new int[] {11}, 1);
        CpuTensor row = fixture.empty(DType.FP32, 1, 6);
        assertThatThrownBy(() -> ops.embedding(wrong, table, row)).hasMessageContaining("token 11 at position 0");
    }

    @ParameterizedTest
    @EnumSource(names = {"FP32", "BF16"})
    void ropeRotatesQueriesAndKeys(DType dtype) {
        int heads = 3;
        int kvHeads = 2;
        int dim = 6;
        int width = (heads + 2 * kvHeads) * dim;
        int[] positions = {0, 1, 7, 500};
        CpuTensor x = fixture.gaussian(dtype, 1, 4, width);
        double[] before = doubles(x);
        double[] expected = before.clone();
        for (int t = 0; t < 4; t++) {
            for (int h = 0; h < heads + kvHeads; h++) {
                for (int i = 0; i < dim / 2; i++) {
                    double angle = positions[t] * Math.pow(10000, -2.0 * i / dim);
                    int low = t * width + h * dim + i;
                    int high = low + dim / 2;
                    expected[low] = before[low] * Math.cos(angle) - before[high] * Math.sin(angle);
                    expected[high] = before[high] * Math.cos(angle) + before[low] * Math.sin(angle);
                }
            }
        }
        CpuTensor where = fixture.ints(positions, 4);
        ops.rope(x, heads, kvHeads, dim, where, 10000, false);
        // The FP32 angle is off by up to 500 * 2^-24 = 3e-5.
        assertClose(x, expected, dtype == DType.BF16 ? 0x1p-8 : 6e-5);
        ops.rope(x, heads, kvHeads, dim, where, 10000, true);
        assertClose(x, before, dtype == DType.BF16 ? 0x1p-7 : 1e-6);
    }

    @Test
    void ropeKeepsApartThetaAndWidth() {
        CpuTensor x = fixture.floats(new float[] {1, 0, 0, 0, 0, 0}, 1, 6);
        CpuTensor where = fixture.ints(new int[] {2}, 1);
        ops.rope(x, 1, 1, 2, where, 10000, false);
        CpuTensor y = fixture.floats(new float[] {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1, 12);
        ops.rope(y, 1, 1, 4, where, 100, false);
        assertThat(fixture.readFloats(y)[1]).isEqualTo((float) Math.cos(2 * 0.1f));
        ops.rope(y, 1, 1, 4, where, 100, true);
        ops.rope(y, 1, 1, 4, where, 1e6, false);
        assertThat(fixture.readFloats(y)[1])
                .isCloseTo((float) Math.cos(2e-3), org.assertj.core.data.Offset.offset(1e-6f));
    }

    @ParameterizedTest
    @EnumSource(names = {"FP32", "BF16"})
    void gatedAddAndItsGradient(DType dtype) {
        CpuTensor gate = fixture.gaussian(DType.FP32, 2, 5);
        CpuTensor y = fixture.gaussian(dtype, 1, 5, 9);
        CpuTensor out = fixture.gaussian(dtype, 1, 5, 9);
        double[] before = doubles(out);
        ops.addGated(gate, y, out);
        assertClose(out, plus(before, gated(doubles(gate), doubles(y))), tolerance(dtype));

        CpuTensor dout = fixture.gaussian(dtype, 1, 5, 9);
        CpuTensor dy = fixture.empty(dtype, 5, 9);
        CpuTensor dgate = fixture.empty(DType.FP32, 5);
        ops.addGatedBackward(gate, y, dout, dy, dgate);
        double[] d = doubles(dout);
        assertClose(dy, differences(at -> dot(d, gated(doubles(gate), at)), doubles(y)), tolerance(dtype));
        assertClose(dgate, differences(at -> dot(d, gated(at, doubles(y))), doubles(gate)), 1e-5);
    }

    private static double[] gated(double[] gate, double[] y) {
        double[] out = new double[y.length];
        for (int i = 0; i < y.length; i++) {
            out[i] = y[i] / (1 + Math.exp(-gate[i / 9]));
        }
        return out;
    }
}
