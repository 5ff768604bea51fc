package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
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
    private static final OperandSpec VECTORS = OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128);
    private static final OperandSpec SQUARES = OperandSpec.of(Format.FP8_E4M3, Blocks.B128X128);
    private static final double FP8_WGRAD = 5e-4;
    private static final double FP8_ROWS = 2e-3;
    private static final double BF16_WGRAD = 2e-6;
    private static final double BF16_ROWS = 1e-3;
    private static final List<String> WAYS = List.of("by rows", "by columns", "pair by rows", "pair by columns");
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
        for (OperandSpec spec : new OperandSpec[] {FP8, SQUARES}) {
            for (DType dtype : new DType[] {DType.FP32, DType.BF16}) {
                for (int way = 0; way < 4; way++) {
                    String name = spec.blocks() + " " + dtype + " " + WAYS.get(way);
                    int how = way;
                    tests.add(DynamicTest.dynamicTest(name, () -> {
                        weights(name, spec, dtype, how, 48, 80);
                        weights(name, spec, dtype, how, 272, 144);
                        weights(name, spec, dtype, how, 20, 13);
                    }));
                }
            }
        }
        return tests;
    }

    private static void weights(String name, OperandSpec spec, DType dtype, int way, int rows, int cols) {
        int groups = 3;
        boolean byColumns = way % 2 == 1;
        Twin w = pair.floats(dtype, pair.awkwardValues(groups * rows * cols), groups, rows, cols);
        OperandCopy copy = new OperandCopy(spec, null, null, pair.cudaScope);
        GroupedOperand made;
        if (way < 2) {
            made = pair.cuda.quantize().stacked(w.cuda(), byColumns, spec, null, pair.cudaScope);
        } else {
            OperandPair<GroupedOperand> both = pair.cuda.quantize().stackedPair(w.cuda(), copy, copy, null, null);
            made = byColumns ? both.byColumns() : both.byRows();
        }
        CudaGroupedOperand actual = pair.decoded(made);
        assertThat(actual.width()).isEqualTo(byColumns ? cols : rows);
        assertThat(actual.depth()).isEqualTo(byColumns ? rows : cols);
        float[] values = pair.cuda.download(actual.values());
        float[] scales = actual.scale() == null ? new float[] {1, 1, 1} : pair.cuda.download(actual.scale());
        for (int g = 0; g < groups; g++) {
            Tensor group = w.cpu().view((long) g * rows * cols, Shape.of(rows, cols));
            GemmOperand expected = pair.cpu.quantize().operand(group, false, spec, null, null, pair.cpuScope);
            float[] found = new float[rows * cols];
            for (int i = 0; i < found.length; i++) {
                found[i] = values[g * rows * cols + i] * scales[g];
            }
            CudaPair.assertSameBits(name + " group " + g, values(pair.cpu, expected, rows, cols, pair.cpuScope), found);
        }
    }

    @TestFactory
    List<DynamicTest> products() {
        List<DynamicTest> tests = new ArrayList<>();
        for (boolean blocks : new boolean[] {false, true}) {
            for (int[] bound : BOUNDS) {
                String tokens = (blocks ? " blocks " : " ") + bound[bound.length - 1];
                for (boolean dgrad : new boolean[] {false, true}) {
                    String name = (dgrad ? "dgrad" : "fprop") + tokens;
                    tests.add(DynamicTest.dynamicTest(name, () -> {
                        rows(name, blocks, bound, dgrad, 144, 80, FP8_ROWS);
                        rows(name, blocks, bound, dgrad, 256, 528, FP8_ROWS);
                        rows(name, blocks, bound, dgrad, 1040, 272, FP8_ROWS);
                        rows(name, blocks, bound, dgrad, 144, 72, FP8_ROWS); // tokens as bytes, weights as values
                        rows(name, blocks, bound, dgrad, 20, 13, BF16_ROWS);
                    }));
                }
                for (boolean accumulate : new boolean[] {false, true}) {
                    String name = (accumulate ? "wgrad +=" : "wgrad") + tokens;
                    tests.add(DynamicTest.dynamicTest(name, () -> {
                        depth(name, blocks, bound, accumulate, 144, 80, FP8_WGRAD);
                        depth(name, blocks, bound, accumulate, 256, 272, FP8_WGRAD);
                        depth(name, blocks, bound, accumulate, 400, 528, FP8_WGRAD);
                        depth(name, blocks, bound, accumulate, 144, 72, BF16_WGRAD);
                        depth(name, blocks, bound, accumulate, 20, 13, BF16_WGRAD);
                    }));
                }
            }
        }
        return tests;
    }

    private static void rows(String name, boolean blocks, int[] bound, boolean dgrad, int k, int n, double tolerance) {
        int groups = bound.length - 1;
        int rows = bound[groups] + 11;
        Twin x = pair.gaussian(DType.BF16, 1, rows, k);
        Twin w = dgrad ? pair.gaussian(DType.FP32, 0.1, groups, k, n) : pair.gaussian(DType.FP32, 0.1, groups, n, k);
        Twin offsets = pair.ints(bound);
        Twin c = pair.poison(DType.BF16, rows, n);
        OperandSpec tokens = blocks ? VECTORS : FP8;
        OperandSpec weights = blocks ? SQUARES : FP8;
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            GroupedOperand left =
                    backend.quantize().ragged(side(x, gpu), side(offsets, gpu), false, tokens, 0, null, null, scope);
            GroupedOperand right = backend.quantize().stacked(side(w, gpu), dgrad, weights, null, scope);
            backend.gemm().multiplyGrouped(left, right, side(c, gpu));
        }
        // Rows of no group are still NaN on both sides.
        pair.assertClose("FP8 " + name + " k " + k + " n " + n, c.cpu(), c.cuda(), tolerance);
    }

    private static void depth(
            String name, boolean blocks, int[] bound, boolean accumulate, int m, int n, double tolerance) {
        int groups = bound.length - 1;
        int rows = bound[groups] + 11;
        Twin dy = pair.gaussian(DType.BF16, 1, rows, m);
        Twin x = pair.gaussian(DType.BF16, 1, rows, n);
        Twin offsets = pair.ints(bound);
        Twin c = accumulate ? pair.gaussian(DType.FP32, 1, groups, m, n) : pair.poison(DType.FP32, groups, m, n);
        Twin squares = pair.poison(DType.FP32, groups);
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            GroupedOperand left = tokens(backend, side(dy, gpu), side(offsets, gpu), blocks, scope);
            GroupedOperand right = tokens(backend, side(x, gpu), side(offsets, gpu), blocks, scope);
            backend.gemm()
                    .multiplyGroupedDepth(
                            left, right, side(c, gpu), accumulate, accumulate ? null : side(squares, gpu));
        }
        String what = "FP8 " + name + " m " + m + " n " + n;
        pair.assertClose(what, c.cpu(), c.cuda(), tolerance);
        if (!accumulate) {
            pair.assertClose(what + " squares", squares.cpu(), squares.cuda(), 1e-3);
        }
    }

    /** The same product again and again gives the same bits. */
    @Test
    void wgradIsTheSameEveryTime() {
        int[] bound = {2, 130, 258};
        for (boolean blocks : new boolean[] {false, true}) {
            for (int i = 0; i < 10; i++) {
                depth("again", blocks, bound, i % 2 == 0, 400, 528, FP8_WGRAD);
            }
        }
    }

    /** The operand by columns of a pair. */
    private static GroupedOperand tokens(Backend backend, Tensor x, Tensor offsets, boolean blocks, TensorScope scope) {
        OperandCopy copy = new OperandCopy(blocks ? VECTORS : FP8, null, null, scope);
        return backend.quantize().raggedPair(x, offsets, 0, copy, copy, null).byColumns();
    }

    @TestFactory
    List<DynamicTest> denseOperands() {
        List<DynamicTest> tests = new ArrayList<>();
        for (OperandSpec spec : new OperandSpec[] {FP8, VECTORS, SQUARES}) {
            for (DType dtype : new DType[] {DType.FP32, DType.BF16}) {
                String name = spec.blocks() + " " + dtype;
                tests.add(DynamicTest.dynamicTest(name, () -> {
                    dense(name, spec, dtype, 1, 16);
                    dense(name, spec, dtype, 131, 144);
                    dense(name, spec, dtype, 384, 272);
                    dense(name, spec, dtype, 20, 13);
                }));
            }
        }
        return tests;
    }

    private static void dense(String name, OperandSpec spec, DType dtype, int rows, int cols) {
        Twin x = pair.floats(dtype, pair.awkwardValues(rows * cols), rows, cols);
        OperandPair<GemmOperand> expected = both(pair.cpu, x.cpu(), spec, pair.cpuScope);
        OperandPair<GemmOperand> actual = both(pair.cuda, x.cuda(), spec, pair.cudaScope);
        GemmOperand rowsAlone = pair.cuda.quantize().operand(x.cuda(), false, spec, null, null, pair.cudaScope);
        GemmOperand columnsAlone = pair.cuda.quantize().operand(x.cuda(), true, spec, null, null, pair.cudaScope);
        String what = name + " " + rows + " x " + cols;
        float[] byRows = values(pair.cpu, expected.byRows(), rows, cols, pair.cpuScope);
        float[] byColumns = values(pair.cpu, expected.byColumns(), cols, rows, pair.cpuScope);
        CudaPair.assertSameBits(what + " rows", byRows, values(pair.cuda, actual.byRows(), rows, cols, pair.cudaScope));
        CudaPair.assertSameBits(
                what + " columns", byColumns, values(pair.cuda, actual.byColumns(), cols, rows, pair.cudaScope));
        CudaPair.assertSameBits(what + " rows alone", byRows, values(pair.cuda, rowsAlone, rows, cols, pair.cudaScope));
        CudaPair.assertSameBits(
                what + " columns alone", byColumns, values(pair.cuda, columnsAlone, cols, rows, pair.cudaScope));
    }

    private static OperandPair<GemmOperand> both(Backend backend, Tensor x, OperandSpec spec, TensorScope scope) {
        OperandCopy copy = new OperandCopy(spec, null, null, scope);
        return backend.quantize().operandPair(x, copy, copy, null);
    }

    private static float[] values(Backend backend, GemmOperand operand, int rows, int cols, TensorScope scope) {
        Tensor out = scope.allocate(DType.FP32, rows, cols);
        backend.quantize().dequantize(operand, out);
        return backend.download(out);
    }

    @TestFactory
    List<DynamicTest> denseProducts() {
        List<DynamicTest> tests = new ArrayList<>();
        for (boolean blocks : new boolean[] {false, true}) {
            OperandSpec tokens = blocks ? VECTORS : FP8;
            OperandSpec weights = blocks ? SQUARES : FP8;
            for (int[] size : new int[][] {{300, 144, 272}, {129, 528, 256}, {16, 16, 16}, {37, 20, 13}}) {
                String name = weights.blocks() + " dense " + size[0] + " x " + size[1] + " x " + size[2];
                tests.add(DynamicTest.dynamicTest(name, () -> linear(name, tokens, weights, size)));
            }
        }
        return tests;
    }

    /** The three products of a linear layer, operands made in pairs. */
    private static void linear(String name, OperandSpec tokens, OperandSpec weights, int[] size) {
        int rows = size[0];
        int n = size[1];
        int k = size[2];
        boolean bytes = n % 16 == 0 && k % 16 == 0;
        Twin x = pair.gaussian(DType.BF16, 1, rows, k);
        Twin dy = pair.gaussian(DType.BF16, 1, rows, n);
        Twin w = pair.gaussian(DType.FP32, 0.1, n, k);
        Twin y = pair.poison(DType.BF16, rows, n);
        Twin dx = pair.poison(DType.BF16, rows, k);
        Twin dw = pair.poison(DType.FP32, n, k);
        Twin sum = pair.gaussian(DType.FP32, 1, n, k);
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            OperandPair<GemmOperand> xs = both(backend, side(x, gpu), tokens, scope);
            OperandPair<GemmOperand> dys = both(backend, side(dy, gpu), tokens, scope);
            OperandCopy copy = new OperandCopy(weights, null, null, scope);
            OperandPair<GemmOperand> ws = backend.quantize().weightPair(side(w, gpu), copy, copy, null, null);
            backend.gemm().multiply(xs.byRows(), ws.byRows(), side(y, gpu), false);
            backend.gemm().multiply(dys.byRows(), ws.byColumns(), side(dx, gpu), false);
            backend.gemm().multiply(dys.byColumns(), xs.byColumns(), side(dw, gpu), false);
            backend.gemm().multiply(dys.byColumns(), xs.byColumns(), side(sum, gpu), true);
        }
        pair.assertClose(name + " fprop", y.cpu(), y.cuda(), FP8_ROWS);
        pair.assertClose(name + " dgrad", dx.cpu(), dx.cuda(), FP8_ROWS);
        pair.assertClose(name + " wgrad", dw.cpu(), dw.cuda(), bytes ? FP8_WGRAD : BF16_WGRAD);
        pair.assertClose(name + " wgrad +=", sum.cpu(), sum.cuda(), bytes ? FP8_WGRAD : BF16_WGRAD);
    }

    @Test
    void statisticsOfGroupsEqualTheOracles() {
        for (OperandSpec spec : new OperandSpec[] {FP8, VECTORS}) {
            for (boolean byColumns : new boolean[] {false, true}) {
                statistics(spec, byColumns);
            }
        }
    }

    private static void statistics(OperandSpec spec, boolean byColumns) {
        int[] bound = {0, 17, 17, 64};
        Twin x = pair.floats(DType.BF16, pair.awkwardValues(70 * 48), 70, 48);
        Twin offsets = pair.ints(bound);
        List<QuantStats> found = new ArrayList<>();
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            backend.quantize().ragged(side(x, gpu), side(offsets, gpu), byColumns, spec, 0, null, found::add, scope);
        }
        QuantStats expected = found.get(0);
        QuantStats actual = found.get(1);
        assertThat(actual.elements()).isEqualTo(expected.elements());
        assertThat(actual.zeroCodes()).isEqualTo(expected.zeroCodes());
        assertThat(actual.saturated()).isEqualTo(expected.saturated());
        assertThat(actual.blocks()).isEqualTo(expected.blocks());
        assertThat(actual.amax()).isEqualTo(expected.amax());
        assertThat(actual.noise()).isCloseTo(expected.noise(), within(1e-6 * expected.noise()));
    }

    private static Tensor side(Twin twin, boolean gpu) {
        return gpu ? twin.cuda() : twin.cpu();
    }
}
