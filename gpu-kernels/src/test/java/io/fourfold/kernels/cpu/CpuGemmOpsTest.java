package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class CpuGemmOpsTest {
    private final HeapScope scope = new HeapScope();
    private final CpuQuantizeOps quantize = new CpuQuantizeOps();
    private final CpuGemmOps gemm = new CpuGemmOps(1);
    private final Random random = new Random(11);

    @AfterEach
    void close() {
        gemm.close();
    }

    @Test
    void allThreeProductsOfALinearLayer() {
        CpuTensor x = normal(DType.FP32, 7, 5);
        CpuTensor w = normal(DType.FP32, 3, 5);
        CpuTensor dy = normal(DType.FP32, 7, 3);

        CpuTensor y = zeros(DType.FP32, 7, 3);
        gemm.multiply(operand(x, false), operand(w, false), y, false);
        assertClose(y, reference(x, false, w, false));

        CpuTensor dx = zeros(DType.FP32, 7, 5);
        gemm.multiply(operand(dy, false), operand(w, true), dx, false);
        assertClose(dx, reference(dy, false, w, true));

        CpuTensor dw = zeros(DType.FP32, 3, 5);
        gemm.multiply(operand(dy, true), operand(x, true), dw, false);
        assertClose(dw, reference(dy, true, x, true));
    }

    @Test
    void accumulatesIntoPartOfATensor() {
        CpuTensor a = normal(DType.FP32, 4, 6);
        CpuTensor b = normal(DType.FP32, 2, 6);
        CpuTensor buffer = normal(DType.FP32, 6, 2);
        float[] before = buffer.floats().clone();

        gemm.multiply(operand(a, false), operand(b, false), buffer.rows(1, 5), true);

        double[] product = reference(a, false, b, false);
        for (int i = 0; i < 12; i++) {
            boolean inside = i >= 2 && i < 10;
            assertThat((double) buffer.floats()[i]).isCloseTo(before[i] + (inside ? product[i - 2] : 0), within(1e-5));
        }
    }

    /** The library's order of sums depends on where a row lies, so it is not the same bits. */
    @Test
    void productsOfSomeRowsAreThoseOfAllRows() {
        CpuTensor a = normal(DType.FP32, 30, 33);
        for (boolean byColumns : new boolean[] {false, true}) {
            CpuTensor w = byColumns ? normal(DType.FP32, 33, 17) : normal(DType.FP32, 17, 33);
            CpuTensor parts = zeros(DType.FP32, 30, 17);
            int[] ends = {0, 7, 15, 30};
            for (int i = 1; i < ends.length; i++) {
                gemm.multiplyRows(
                        a.rows(ends[i - 1], ends[i]), operand(w, byColumns), parts.rows(ends[i - 1], ends[i]));
            }
            assertClose(parts, reference(a, false, w, byColumns));
        }
    }

    @Test
    void bf16ResultIsTheRoundedFp32Result() {
        CpuTensor a = normal(DType.BF16, 8, 16);
        CpuTensor b = normal(DType.BF16, 8, 16);
        CpuTensor full = zeros(DType.FP32, 8, 8);
        CpuTensor half = zeros(DType.BF16, 8, 8);
        gemm.multiply(operand(a, false), operand(b, false), full, false);
        gemm.multiply(operand(a, false), operand(b, false), half, false);
        for (int i = 0; i < 64; i++) {
            assertThat(half.floats()[i]).isEqualTo(BFloat16.round(full.floats()[i]));
        }
    }

    @Test
    void anEmptyDepthGivesZeroOrLeavesTheSum() {
        CpuTensor a = zeros(DType.FP32, 0, 2);
        CpuTensor c = normal(DType.FP32, 2, 2);
        float[] before = c.floats().clone();
        GemmOperand empty = operand(a, true);
        gemm.multiply(empty, empty, c, true);
        assertThat(c.floats()).isEqualTo(before);
        gemm.multiply(empty, empty, c, false);
        assertThat(c.floats()).containsOnly(0f);
    }

    @Test
    void groupedProductLeavesOtherRowsUntouched() {
        CpuTensor x = normal(DType.FP32, 10, 4);
        CpuTensor w = normal(DType.FP32, 3, 5, 4);
        CpuTensor y = normal(DType.FP32, 10, 5);
        float[] before = y.floats().clone();
        CpuTensor offsets = CpuTensor.ofInts(new int[] {1, 4, 4, 8}, Shape.of(4));

        gemm.multiplyGrouped(ragged(x, offsets, false), stacked(w, false), y);

        for (int r = 0; r < 10; r++) {
            int group = r < 1 ? -1 : r < 4 ? 0 : r < 8 ? 2 : -1;
            for (int n = 0; n < 5; n++) {
                double expected = before[r * 5 + n];
                if (group >= 0) {
                    expected = 0;
                    for (int k = 0; k < 4; k++) {
                        expected += (double) x.floats()[r * 4 + k] * w.floats()[(group * 5 + n) * 4 + k];
                    }
                }
                assertThat((double) y.floats()[r * 5 + n]).isCloseTo(expected, within(1e-5));
            }
        }
    }

    @Test
    void groupedDepthSumsOverTheTokensOfEachGroup() {
        CpuTensor dy = normal(DType.FP32, 9, 3);
        CpuTensor x = normal(DType.FP32, 9, 4);
        CpuTensor dw = normal(DType.FP32, 3, 3, 4);
        CpuTensor offsets = CpuTensor.ofInts(new int[] {0, 5, 5, 8}, Shape.of(4));

        CpuTensor squares = normal(DType.FP32, 3);
        gemm.multiplyGroupedDepth(ragged(dy, offsets, true), ragged(x, offsets, true), dw, false, squares);

        int[] bounds = offsets.ints();
        for (int g = 0; g < 3; g++) {
            double norm = 0;
            for (int i = 0; i < 12; i++) {
                norm += Math.pow(dw.floats()[g * 12 + i], 2);
            }
            assertThat(squares.floats()[g]).isEqualTo((float) norm);
            for (int m = 0; m < 3; m++) {
                for (int n = 0; n < 4; n++) {
                    double sum = 0;
                    for (int t = bounds[g]; t < bounds[g + 1]; t++) {
                        sum += (double) dy.floats()[t * 3 + m] * x.floats()[t * 4 + n];
                    }
                    assertThat((double) dw.floats()[(g * 3 + m) * 4 + n]).isCloseTo(sum, within(1e-5));
                }
            }
        }
    }

    @Test
    void refusesOperandsOfDifferentDepth() {
        CpuTensor c = zeros(DType.FP32, 2, 2);
        GemmOperand a = operand(normal(DType.FP32, 2, 3), false);
        GemmOperand b = operand(normal(DType.FP32, 2, 4), false);
        assertThatThrownBy(() -> gemm.multiply(a, b, c, false))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("depth");
    }

    private GemmOperand operand(CpuTensor x, boolean byColumns) {
        OperandSpec spec = x.dtype() == DType.BF16 ? OperandSpec.BF16 : OperandSpec.FP32;
        return quantize.operand(x, byColumns, spec, null, null, scope);
    }

    private GroupedOperand ragged(CpuTensor x, CpuTensor offsets, boolean byColumns) {
        return quantize.ragged(x, offsets, byColumns, OperandSpec.FP32, 0, null, null, scope);
    }

    private GroupedOperand stacked(CpuTensor w, boolean byColumns) {
        return quantize.stacked(w, byColumns, OperandSpec.FP32, null, scope);
    }

    private CpuTensor zeros(DType dtype, int... dims) {
        return CpuTensor.of(scope.zeros(dtype, dims));
    }

    private CpuTensor normal(DType dtype, int... dims) {
        CpuTensor tensor = zeros(dtype, dims);
        for (int i = 0; i < tensor.size(); i++) {
            float value = (float) random.nextGaussian();
            tensor.floats()[i] = dtype == DType.BF16 ? BFloat16.round(value) : value;
        }
        return tensor;
    }

    private static double[] reference(CpuTensor a, boolean aColumns, CpuTensor b, boolean bColumns) {
        int m = aColumns ? a.dim(1) : a.dim(0);
        int n = bColumns ? b.dim(1) : b.dim(0);
        int depth = aColumns ? a.dim(0) : a.dim(1);
        double[] c = new double[m * n];
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                for (int k = 0; k < depth; k++) {
                    c[i * n + j] += (double) at(a, aColumns, i, k) * at(b, bColumns, j, k);
                }
            }
        }
        return c;
    }

    private static float at(CpuTensor x, boolean byColumns, int row, int k) {
        return x.floats()[byColumns ? k * x.dim(1) + row : row * x.dim(1) + k];
    }

    private static void assertClose(CpuTensor actual, double[] expected) {
        for (int i = 0; i < expected.length; i++) {
            assertThat((double) actual.floats()[i]).isCloseTo(expected[i], within(1e-5));
        }
    }
}
