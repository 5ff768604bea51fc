package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * Grouped FP8 operands and products against the CPU oracle. Codes and factors are equal to the bit. FP8 tensor cores sum
 * pieces of 128 with fewer bits than FP32: by norm, gradients of weights differ by at most 5e-4, and BF16 results, where
 * that decides more roundings, by at most 2e-3. Sizes that are no multiples of 16 go through BF16 and keep FP32 sums.
 */
@Tag("gpu")
class CudaFp8ParityTest {
    private static final OperandSpec FP8 = OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR);
    private static final double FP8_WGRAD = 5e-4;
    private static final double FP8_ROWS = 2e-3;
    private static final double BF16_WGRAD = 2e-6;
    private static final double BF16_ROWS = 1e-3;
    private static final int[][] BOUNDS = {{0, 300, 300, 301, 700}, {0, 1, 1, 3}, {2, 130, 258}, {0, 0, 0}};

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(73);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    @TestFactory
    List<DynamicTest> weights() {
        List<DynamicTest> tests = new ArrayList<>();
        for (DType dtype : new DType[] {DType.FP32, DType.BF16}) {
            for (int way = 0; way < 3; way++) {
                String name = dtype + (way == 0 ? " by rows" : way == 1 ? " by columns" : " rows transposed");
                int how = way;
                tests.add(DynamicTest.dynamicTest(name, () -> {
                    weights(name, dtype, how, 48, 80);
                    weights(name, dtype, how, 272, 144);
                    weights(name, dtype, how, 20, 13);
                }));
            }
        }
        return tests;
    }

    private static void weights(String name, DType dtype, int way, int rows, int cols) {
        int groups = 3;
        Twin w = pair.floats(dtype, pair.awkwardValues(groups * rows * cols), groups, rows, cols);
        GroupedOperand made = pair.cuda.quantize().stacked(w.cuda(), way == 1, FP8, null, pair.cudaScope);
        if (way == 2) {
            made = pair.cuda.quantize().columnsOf(made, FP8, w.cuda(), FP8, null, null, pair.cudaScope);
        }
        CudaGroupedOperand actual = pair.decoded(made);
        assertThat(actual.width()).isEqualTo(way == 0 ? rows : cols);
        assertThat(actual.depth()).isEqualTo(way == 0 ? cols : rows);
        float[] values = pair.cuda.download(actual.values());
        float[] scales = pair.cuda.download(Objects.requireNonNull(actual.scale()));
        for (int g = 0; g < groups; g++) {
            Tensor group = w.cpu().view((long) g * rows * cols, Shape.of(rows, cols));
            Tensor out = pair.cpuScope.allocate(DType.FP32, rows, cols);
            pair.cpu
                    .quantize()
                    .dequantize(pair.cpu.quantize().operand(group, false, FP8, null, null, pair.cpuScope), out);
            float[] found = new float[rows * cols];
            boolean transposed = way != 0 && !actual.depthMajor();
            for (int i = 0; i < found.length; i++) {
                int at = transposed ? i % cols * rows + i / cols : i;
                found[i] = values[g * rows * cols + at] * scales[g];
            }
            CudaPair.assertSameBits(name + " group " + g, pair.cpu.download(out), found);
        }
    }

    @TestFactory
    List<DynamicTest> products() {
        List<DynamicTest> tests = new ArrayList<>();
        for (int[] bound : BOUNDS) {
            String tokens = " " + bound[bound.length - 1];
            for (boolean dgrad : new boolean[] {false, true}) {
                String name = (dgrad ? "dgrad" : "fprop") + tokens;
                tests.add(DynamicTest.dynamicTest(name, () -> {
                    rows(name, bound, dgrad, 144, 80, FP8_ROWS);
                    rows(name, bound, dgrad, 256, 528, FP8_ROWS);
                    rows(name, bound, dgrad, 1040, 272, FP8_ROWS);
                    rows(name, bound, dgrad, 144, 72, FP8_ROWS); // tokens as bytes, weights as BF16
                    rows(name, bound, dgrad, 20, 13, BF16_ROWS);
                }));
            }
            for (boolean accumulate : new boolean[] {false, true}) {
                String name = (accumulate ? "wgrad +=" : "wgrad") + tokens;
                tests.add(DynamicTest.dynamicTest(name, () -> {
                    depth(name, bound, accumulate, 144, 80, FP8_WGRAD);
                    depth(name, bound, accumulate, 256, 272, FP8_WGRAD);
                    depth(name, bound, accumulate, 144, 72, BF16_WGRAD);
                    depth(name, bound, accumulate, 20, 13, BF16_WGRAD);
                }));
            }
        }
        return tests;
    }

    private static void rows(String name, int[] bound, boolean dgrad, int k, int n, double tolerance) {
        int groups = bound.length - 1;
        int rows = bound[groups] + 11;
        Twin x = pair.gaussian(DType.BF16, 1, rows, k);
        Twin w = dgrad ? pair.gaussian(DType.FP32, 0.1, groups, k, n) : pair.gaussian(DType.FP32, 0.1, groups, n, k);
        Twin offsets = pair.ints(bound);
        Twin c = pair.poison(DType.BF16, rows, n);
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            GroupedOperand left =
                    backend.quantize().ragged(side(x, gpu), side(offsets, gpu), false, FP8, 0, null, null, scope);
            GroupedOperand right = backend.quantize().stacked(side(w, gpu), dgrad, FP8, null, scope);
            backend.gemm().multiplyGrouped(left, right, side(c, gpu));
        }
        // Rows of no group are still NaN on both sides.
        pair.assertClose("FP8 " + name + " k " + k + " n " + n, c.cpu(), c.cuda(), tolerance);
    }

    private static void depth(String name, int[] bound, boolean accumulate, int m, int n, double tolerance) {
        int groups = bound.length - 1;
        int rows = bound[groups] + 11;
        Twin dy = pair.gaussian(DType.BF16, 1, rows, m);
        Twin x = pair.gaussian(DType.BF16, 1, rows, n);
        Twin offsets = pair.ints(bound);
        Twin c = accumulate ? pair.gaussian(DType.FP32, 1, groups, m, n) : pair.poison(DType.FP32, groups, m, n);
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            GroupedOperand left =
                    backend.quantize().ragged(side(dy, gpu), side(offsets, gpu), true, FP8, 0, null, null, scope);
            GroupedOperand right =
                    backend.quantize().ragged(side(x, gpu), side(offsets, gpu), true, FP8, 0, null, null, scope);
            backend.gemm().multiplyGroupedDepth(left, right, side(c, gpu), accumulate);
        }
        pair.assertClose("FP8 " + name + " m " + m + " n " + n, c.cpu(), c.cuda(), tolerance);
    }

    @Test
    void statisticsOfGroupsEqualTheOracles() {
        int[] bound = {0, 17, 17, 64};
        Twin x = pair.floats(DType.BF16, pair.awkwardValues(70 * 48), 70, 48);
        Twin offsets = pair.ints(bound);
        List<QuantStats> found = new ArrayList<>();
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            backend.quantize().ragged(side(x, gpu), side(offsets, gpu), true, FP8, 0, null, found::add, scope);
        }
        QuantStats expected = found.get(0);
        QuantStats actual = found.get(1);
        assertThat(actual.elements()).isEqualTo(expected.elements());
        assertThat(actual.zeroCodes()).isEqualTo(expected.zeroCodes());
        assertThat(actual.saturated()).isEqualTo(expected.saturated());
        assertThat(actual.blocks()).isEqualTo(expected.blocks()).isEqualTo(3);
        assertThat(actual.amax()).isEqualTo(expected.amax());
        assertThat(actual.noise()).isCloseTo(expected.noise(), within(1e-6 * expected.noise()));
    }

    private static Tensor side(Twin twin, boolean gpu) {
        return gpu ? twin.cuda() : twin.cpu();
    }
}
