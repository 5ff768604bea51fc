package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class CpuQuantizeOpsTest {
    private static final OperandSpec ACTIVATION = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
    private static final OperandSpec WEIGHT = OperandSpec.of(Format.NVFP4, Blocks.B16X16);
    private static final OperandSpec GRADIENT = ACTIVATION.withRounding(Rounding.STOCHASTIC);

    private final HeapScope scope = new HeapScope();
    private final CpuQuantizeOps quantize = new CpuQuantizeOps();
    private final Random random = new Random(21);

    @Test
    void plainOperandsShareMemoryUnlessTheyMustRound() {
        CpuTensor fp32 = normal(DType.FP32, 3, 5);
        CpuTensor bf16 = normal(DType.BF16, 3, 5);
        assertThat(values(operand(fp32, true, OperandSpec.FP32, null))).isSameAs(fp32);
        assertThat(values(operand(bf16, false, OperandSpec.BF16, null))).isSameAs(bf16);
        assertThat(values(operand(bf16, false, OperandSpec.FP32, null))).isSameAs(bf16);
        CpuTensor rounded = values(operand(fp32, true, OperandSpec.BF16, null));
        for (int i = 0; i < 15; i++) {
            assertThat(rounded.floats()[i]).isEqualTo(BFloat16.round(fp32.floats()[i]));
        }
    }

    @Test
    void aQuantizedProductIsTheProductOfTheDequantizedOperands() {
        CpuTensor x = normal(DType.BF16, 50, 70);
        CpuTensor dy = normal(DType.BF16, 50, 40);
        CpuTensor w = normal(DType.FP32, 40, 70);
        OperandSpec wgrad = ACTIVATION.withHadamard(true);
        RandomStream stream = new RandomStream(5, 6, 7, null);
        checkProduct(operand(x, false, ACTIVATION, null), operand(w, false, WEIGHT, null));
        checkProduct(operand(dy, false, GRADIENT, stream), operand(w, true, WEIGHT, null));
        checkProduct(operand(dy, true, wgrad.withRounding(Rounding.STOCHASTIC), stream), operand(x, true, wgrad, null));
        OperandSpec fp8 = OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128);
        checkProduct(
                operand(x, false, fp8, null),
                operand(w, false, OperandSpec.of(Format.FP8_E4M3, Blocks.B128X128), null));
        checkProduct(
                operand(x, false, OperandSpec.of(Format.MXFP4, Blocks.B1X32), null),
                operand(w, false, OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR), null));
    }

    @Test
    void aHadamardOperandKeepsItsPaddedDepth() {
        GemmOperand operand = operand(normal(DType.BF16, 37, 24), true, ACTIVATION.withHadamard(true), null);
        assertThat(operand.rows()).isEqualTo(24);
        assertThat(operand.depth()).isEqualTo(48);
    }

    @Test
    void weightsHaveTheSameValuesInBothDirections() {
        CpuTensor w = normal(DType.FP32, 40, 70);
        float[] byRows = dequantized(operand(w, false, WEIGHT, null));
        float[] byColumns = dequantized(operand(w, true, WEIGHT, null));
        for (int r = 0; r < 40; r++) {
            for (int c = 0; c < 70; c++) {
                assertThat(byColumns[c * 40 + r]).isEqualTo(byRows[r * 70 + c]);
            }
        }
    }

    @Test
    void groupsAreQuantizedAsIfEachWereATensorOfItsOwn() {
        CpuTensor x = normal(DType.BF16, 60, 48);
        for (int r = 20; r < 41; r++) {
            for (int c = 0; c < 48; c++) {
                x.floats()[r * 48 + c] *= 1024; // the groups' tensor scales differ
            }
        }
        int[] bounds = {3, 20, 20, 41, 57};
        CpuTensor ids = CpuTensor.ofInts(random.ints(60, 0, 1 << 20).toArray(), Shape.of(60));
        for (boolean byColumns : new boolean[] {false, true}) {
            OperandSpec spec = GRADIENT.withHadamard(byColumns);
            RandomStream stream = new RandomStream(5, 6, 100, ids);
            GroupedOperand grouped =
                    quantize.ragged(x, CpuTensor.ofInts(bounds, Shape.of(5)), byColumns, spec, 8, stream, null, scope);
            for (int g = 0; g < 4; g++) {
                int rows = bounds[g + 1] - bounds[g];
                RandomStream own = new RandomStream(5, 6, 108 + g, ids.view(bounds[g], Shape.of(rows)));
                GemmOperand expected =
                        quantize.operand(x.rows(bounds[g], bounds[g + 1]), byColumns, spec, own, null, scope);
                CpuOperand actual = ((CpuGroupedOperand) grouped).members()[g];
                assertThat(dequantized(actual)).isEqualTo(dequantized(expected));
                assertThat(actual.tensorScale())
                        .isEqualTo(CpuOperand.of(expected).tensorScale());
            }
        }
    }

    @Test
    void stackedWeightsAreQuantizedPerGroup() {
        CpuTensor w = normal(DType.FP32, 3, 20, 36);
        for (boolean byColumns : new boolean[] {false, true}) {
            CpuGroupedOperand stacked = (CpuGroupedOperand) quantize.stacked(w, byColumns, WEIGHT, null, scope);
            for (int g = 0; g < 3; g++) {
                GemmOperand expected = operand(w.view(g * 720L, Shape.of(20, 36)), byColumns, WEIGHT, null);
                assertThat(dequantized(stacked.members()[g])).isEqualTo(dequantized(expected));
            }
        }
    }

    @Test
    void groupedProductsOfQuantizedOperands() {
        CpuTensor x = normal(DType.BF16, 40, 32);
        CpuTensor dy = normal(DType.BF16, 40, 24);
        CpuTensor w = normal(DType.FP32, 3, 24, 32);
        CpuTensor offsets = CpuTensor.ofInts(new int[] {0, 9, 9, 35}, Shape.of(4));
        RandomStream stream = new RandomStream(1, 2, 3, null);
        OperandSpec wgrad = ACTIVATION.withHadamard(true);
        CpuGroupedOperand a = (CpuGroupedOperand) quantize.ragged(x, offsets, false, ACTIVATION, 0, null, null, scope);
        CpuGroupedOperand b = (CpuGroupedOperand) quantize.stacked(w, false, WEIGHT, null, scope);
        CpuGroupedOperand dyColumns = (CpuGroupedOperand)
                quantize.ragged(dy, offsets, true, wgrad.withRounding(Rounding.STOCHASTIC), 0, stream, null, scope);
        CpuGroupedOperand xColumns = (CpuGroupedOperand) quantize.ragged(x, offsets, true, wgrad, 0, null, null, scope);
        CpuTensor y = CpuTensor.of(scope.zeros(DType.FP32, 40, 24));
        CpuTensor dw = CpuTensor.of(scope.allocate(DType.FP32, 3, 24, 32));
        try (CpuGemmOps gemm = new CpuGemmOps(1)) {
            gemm.multiplyGrouped(a, b, y);
            gemm.multiplyGroupedDepth(dyColumns, xColumns, dw, false);
        }
        for (int g = 0; g < 3; g++) {
            int first = offsets.ints()[g];
            int rows = offsets.ints()[g + 1] - first;
            assertClose(y.view(first * 24L, Shape.of(rows, 24)), a.members()[g], b.members()[g]);
            assertClose(dw.view(g * 768L, Shape.of(24, 32)), dyColumns.members()[g], xColumns.members()[g]);
        }
    }

    @Test
    void stochasticRowsFollowTheirIdsNotTheirPlace() {
        CpuTensor x = normal(DType.BF16, 4, 32);
        CpuTensor swapped = CpuTensor.of(scope.zeros(DType.BF16, 4, 32));
        int[] order = {2, 0, 3, 1};
        for (int r = 0; r < 4; r++) {
            System.arraycopy(x.floats(), order[r] * 32, swapped.floats(), r * 32, 32);
        }
        float[] plain = dequantized(operand(x, false, GRADIENT, new RandomStream(1, 2, 3, null)));
        CpuTensor ids = CpuTensor.ofInts(order, Shape.of(4));
        float[] moved = dequantized(operand(swapped, false, GRADIENT, new RandomStream(1, 2, 3, ids)));
        for (int r = 0; r < 4; r++) {
            assertThat(Arrays.copyOfRange(moved, r * 32, r * 32 + 32))
                    .isEqualTo(Arrays.copyOfRange(plain, order[r] * 32, order[r] * 32 + 32));
        }
    }

    @Test
    void telemetryOfGroupsIsReportedOnce() {
        CpuTensor x = normal(DType.BF16, 20, 32);
        List<QuantStats> reports = new ArrayList<>();
        CpuTensor offsets = CpuTensor.ofInts(new int[] {0, 6, 6, 16}, Shape.of(4));
        quantize.ragged(x, offsets, false, ACTIVATION, 0, null, reports::add, scope);
        assertThat(reports).hasSize(1);
        assertThat(reports.get(0).elements()).isEqualTo(16 * 32);
        assertThat(reports.get(0).blocks()).isEqualTo(16 * 2);
        assertThat(reports.get(0).sqnrDb()).isBetween(17.0, 25.0);
    }

    @Test
    void refusesWhatItCannotQuantize() {
        CpuTensor x = normal(DType.BF16, 4, 16);
        assertThatThrownBy(() -> operand(x, false, GRADIENT, null)).hasMessageContaining("random stream");
        CpuTensor descending = CpuTensor.ofInts(new int[] {0, 3, 2}, Shape.of(3));
        assertThatThrownBy(() -> quantize.ragged(x, descending, false, ACTIVATION, 0, null, null, scope))
                .hasMessageContaining("ascend");
        CpuTensor beyond = CpuTensor.ofInts(new int[] {0, 5}, Shape.of(2));
        assertThatThrownBy(() -> quantize.ragged(x, beyond, false, ACTIVATION, 0, null, null, scope))
                .hasMessageContaining("within 0..4");
        RandomStream few = new RandomStream(1, 2, 3, CpuTensor.ofInts(new int[2], Shape.of(2)));
        assertThatThrownBy(() -> operand(x, false, GRADIENT, few)).hasMessageContaining("names 2 rows");
    }

    private void checkProduct(GemmOperand a, GemmOperand b) {
        CpuTensor c = CpuTensor.of(scope.allocate(DType.FP32, a.rows(), b.rows()));
        try (CpuGemmOps gemm = new CpuGemmOps(1)) {
            gemm.multiply(a, b, c, false);
        }
        assertClose(c, a, b);
    }

    private void assertClose(CpuTensor c, GemmOperand a, GemmOperand b) {
        float[] left = dequantized(a);
        float[] right = dequantized(b);
        for (int m = 0; m < a.rows(); m++) {
            for (int n = 0; n < b.rows(); n++) {
                double sum = 0;
                double size = 0;
                for (int k = 0; k < a.depth(); k++) {
                    double term = (double) left[m * a.depth() + k] * right[n * b.depth() + k];
                    sum += term;
                    size += Math.abs(term);
                }
                double actual = c.floats()[c.offset() + m * b.rows() + n];
                assertThat(actual).isCloseTo(sum, within(1e-6 * size + 1e-30));
            }
        }
    }

    private GemmOperand operand(CpuTensor x, boolean byColumns, OperandSpec spec, @Nullable RandomStream stream) {
        return quantize.operand(x, byColumns, spec, stream, null, scope);
    }

    private static CpuTensor values(GemmOperand operand) {
        return CpuOperand.of(operand).values();
    }

    private float[] dequantized(GemmOperand operand) {
        CpuTensor out = CpuTensor.of(scope.allocate(DType.FP32, operand.rows(), operand.depth()));
        quantize.dequantize(operand, out);
        return out.floats();
    }

    private CpuTensor normal(DType type, int... dims) {
        CpuTensor tensor = CpuTensor.of(scope.zeros(type, dims));
        for (int i = 0; i < tensor.size(); i++) {
            tensor.floats()[i] = (float) random.nextGaussian();
        }
        Bf16Rounding.roundIfNeeded(tensor, 0, tensor.size());
        return tensor;
    }
}
