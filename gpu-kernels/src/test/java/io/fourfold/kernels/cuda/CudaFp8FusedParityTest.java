package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/**
 * FP8 operands that are made without their source in memory (of activated rows, of their gradients, of copies of tokens), and of
 * weights whose largest magnitudes are known.
 * Codes and factors are the bits of the way through memory, and those of the CPU oracle.
 */
@Tag("gpu")
class CudaFp8FusedParityTest {
    private static final OperandSpec WHOLE = OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR);
    private static final OperandSpec VECTORS = OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128);
    private static final int[][] BOUNDS = {{0, 300, 300, 301, 700}, {0, 1, 1, 3}, {2, 130, 258}, {0, 0, 0}};

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(79);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    /** SwiGLU straight into operands gives the bits of SwiGLU into memory and operands of that. */
    @TestFactory
    List<DynamicTest> activations() {
        List<DynamicTest> tests = new ArrayList<>();
        for (OperandSpec spec : new OperandSpec[] {WHOLE, VECTORS}) {
            for (int[] bound : BOUNDS) {
                for (int width : new int[] {128, 384}) {
                    String name = spec.blocks() + " swiglu " + bound[bound.length - 1] + " rows of " + width;
                    tests.add(DynamicTest.dynamicTest(name, () -> activation(name, spec, bound, width, false)));
                }
            }
            String name = spec.blocks() + " swiglu with an infinite value";
            tests.add(DynamicTest.dynamicTest(name, () -> activation(name, spec, BOUNDS[0], 128, true)));
        }
        return tests;
    }

    private static void activation(String name, OperandSpec spec, int[] bound, int width, boolean infinite) {
        TensorScope scope = pair.cudaScope;
        QuantizeOps quantize = pair.cuda.quantize();
        int rows = bound[bound.length - 1] + 11;
        float[] inner = pair.gaussianValues(1, rows * 2 * width);
        if (infinite) {
            inner[(bound[1] + 1) * 2 * width + width] = Float.POSITIVE_INFINITY;
        }
        Tensor in = pair.floats(DType.BF16, inner, rows, 2 * width).cuda();
        Tensor dout = pair.gaussian(DType.BF16, 1, rows, width).cuda();
        Tensor probability = pair.gaussian(DType.FP32, 1, rows).cuda();
        Tensor offsets = pair.ints(bound).cuda();
        OperandCopy copy = new OperandCopy(spec, null, null, scope);

        Tensor out = scope.zeros(DType.BF16, Shape.of(rows, width));
        pair.cuda.moe().activation(Activation.SWIGLU, in, probability, out);
        assertSameOperands(
                name,
                bound,
                quantize.raggedPair(out, offsets, 0, copy, copy, null),
                Objects.requireNonNull(
                        quantize.activatedPair(Activation.SWIGLU, in, probability, offsets, copy, copy, null)));

        Tensor din = scope.zeros(DType.BF16, Shape.of(rows, 2 * width));
        Tensor expected = scope.zeros(DType.FP32, Shape.of(rows));
        Tensor actual = scope.zeros(DType.FP32, Shape.of(rows));
        pair.cuda.moe().activationBackward(Activation.SWIGLU, dout, in, probability, din, expected);
        assertSameOperands(
                name + " backward",
                bound,
                quantize.raggedPair(din, offsets, 0, copy, copy, null),
                Objects.requireNonNull(quantize.activationGradientPair(
                        Activation.SWIGLU, dout, in, probability, actual, offsets, copy, copy, null)));
        // Rows of no group have no gradient.
        int from = bound[0];
        int count = bound[bound.length - 1] - from;
        if (!infinite) {
            CudaPair.assertClose(
                    name + " probability",
                    pair.cuda.download(expected.view(from, Shape.of(count))),
                    pair.cuda.download(actual.view(from, Shape.of(count))),
                    1e-6);
        }
    }

    /** Operands of copies of tokens are those of the copies in memory, on this backend and on the CPU. */
    @TestFactory
    List<DynamicTest> copiesOfTokens() {
        List<DynamicTest> tests = new ArrayList<>();
        for (OperandSpec spec : new OperandSpec[] {WHOLE, VECTORS}) {
            for (int cols : new int[] {16, 144, 384}) {
                String name = spec.blocks() + " rows of " + cols;
                tests.add(DynamicTest.dynamicTest(name, () -> {
                    copies(name, spec, 97, cols, 3, new int[] {-1, 4, 0, 2, 0, 5, 2}, 0);
                    copies(name + ", padded", spec, 97, cols, 3, new int[] {-1, 4, 0, 2, 0, 5, 2}, 130);
                    copies(name + ", one token", spec, 1, cols, 1, new int[] {1}, 0);
                    copies(name + ", all dropped", spec, 5, cols, 2, new int[] {-1}, 0);
                }));
            }
        }
        return tests;
    }

    /**
     * @param choices experts of the slots, again and again; -1: dropped
     * @param capacity rows of each expert; 0: as many as there are
     */
    private static void copies(
            String name, OperandSpec spec, int tokens, int cols, int k, int[] choices, int capacity) {
        int experts = 6;
        int slots = tokens * k;
        int[] chosen = new int[slots];
        for (int i = 0; i < slots; i++) {
            chosen[i] = choices[i % choices.length];
        }
        int rows = capacity > 0 ? experts * capacity : slots;
        Twin x = pair.floats(DType.BF16, pair.awkwardValues(tokens * cols), tokens, cols);
        Twin chosenExperts = pair.ints(chosen);
        Twin offsets = pair.ints(new int[experts + 1]);
        Twin rowOfSlot = pair.ints(new int[slots]);
        Twin slotOfRow = pair.ints(new int[rows]);
        for (boolean gpu : new boolean[] {false, true}) {
            var ops = gpu ? pair.cuda.moe() : pair.cpu.moe();
            Tensor ofSlots = side(chosenExperts, gpu).reshape(tokens, k);
            if (capacity > 0) {
                ops.buildPaddedPermutation(
                        ofSlots, capacity, side(offsets, gpu), side(rowOfSlot, gpu), side(slotOfRow, gpu));
            } else {
                ops.buildPermutation(ofSlots, side(offsets, gpu), side(rowOfSlot, gpu), side(slotOfRow, gpu));
            }
        }
        OperandCopy copy = new OperandCopy(spec, null, null, pair.cudaScope);
        QuantizeOps quantize = pair.cuda.quantize();
        OperandPair<GroupedOperand> actual = Objects.requireNonNull(
                quantize.spreadPair(x.cuda(), slotOfRow.cuda(), k, offsets.cuda(), copy, copy, null));
        Tensor stored = pair.cudaScope.zeros(DType.BF16, Shape.of(rows, cols));
        pair.cuda.moe().spreadRows(x.cuda(), slotOfRow.cuda(), rowOfSlot.cuda(), k, stored);
        int[] bound = intsOf(offsets);
        assertSameOperands(name, bound, quantize.raggedPair(stored, offsets.cuda(), 0, copy, copy, null), actual);
        if (spec.equals(WHOLE)) {
            assertOracle(name, spec, bound, x, slotOfRow, k, rows, cols, actual);
        }
    }

    /** Each group's values are those of the CPU's operand of the group. */
    private static void assertOracle(
            String name,
            OperandSpec spec,
            int[] bound,
            Twin x,
            Twin slotOfRow,
            int k,
            int rows,
            int cols,
            OperandPair<GroupedOperand> actual) {
        Tensor copies = pair.cpuScope.zeros(DType.BF16, Shape.of(rows, cols));
        pair.cpu.moe().gatherRows(x.cpu(), slotOfRow.cpu(), k, copies);
        CudaGroupedOperand byRows = pair.decoded(actual.byRows());
        float[] codes = pair.cuda.download(byRows.values());
        float[] scales = pair.cuda.download(Objects.requireNonNull(byRows.scale()));
        for (int g = 0; g + 1 < bound.length; g++) {
            int height = bound[g + 1] - bound[g];
            if (height == 0) {
                continue;
            }
            Tensor group = copies.view((long) bound[g] * cols, Shape.of(height, cols));
            GemmOperand operand = pair.cpu.quantize().operand(group, false, spec, null, null, pair.cpuScope);
            Tensor values = pair.cpuScope.zeros(DType.FP32, Shape.of(height, cols));
            pair.cpu.quantize().dequantize(operand, values);
            float[] found = new float[height * cols];
            for (int i = 0; i < found.length; i++) {
                found[i] = codes[bound[g] * cols + i] * scales[g];
            }
            CudaPair.assertSameBits(name + " group " + g, pair.cpu.download(values), found);
        }
    }

    /** Given largest magnitudes are taken as they are: right ones give the same operands, others give other factors. */
    @TestFactory
    List<DynamicTest> knownMagnitudes() {
        List<DynamicTest> tests = new ArrayList<>();
        for (OperandSpec spec : new OperandSpec[] {WHOLE, OperandSpec.of(Format.NVFP4, Blocks.B16X16)}) {
            tests.add(DynamicTest.dynamicTest(spec.format() + " right", () -> known(spec, 1)));
            tests.add(DynamicTest.dynamicTest(spec.format() + " doubled", () -> known(spec, 2)));
        }
        return tests;
    }

    private static void known(OperandSpec spec, float factor) {
        int groups = 3;
        int rows = 144;
        int cols = 272;
        float[] values = pair.gaussianValues(1, groups * rows * cols);
        float[] largest = new float[groups];
        for (int i = 0; i < values.length; i++) {
            int g = i / (rows * cols);
            largest[g] = Math.max(largest[g], Math.abs(values[i]));
        }
        Tensor weights = pair.floats(DType.FP32, values, groups, rows, cols).cuda();
        for (int g = 0; g < groups; g++) {
            largest[g] *= factor;
        }
        Tensor amax = pair.floats(DType.FP32, largest, groups).cuda();
        OperandCopy copy = new OperandCopy(spec, null, null, pair.cudaScope);
        QuantizeOps quantize = pair.cuda.quantize();
        OperandPair<GroupedOperand> found = quantize.stackedPair(weights, copy, copy, null, null);
        OperandPair<GroupedOperand> given = quantize.stackedPair(weights, copy, copy, null, amax);
        if (factor == 1) {
            int[] bound = {0, rows, 2 * rows, 3 * rows};
            assertSameOperands("stacked", bound, found, given);
            Tensor one = weights.view(0, Shape.of(rows, cols));
            OperandPair<GemmOperand> foundOne = quantize.weightPair(one, copy, copy, null, null);
            OperandPair<GemmOperand> givenOne = quantize.weightPair(one, copy, copy, null, amax.view(0, Shape.of(1)));
            assertSameValues("rows", foundOne.byRows(), givenOne.byRows(), rows, cols);
            assertSameValues("columns", foundOne.byColumns(), givenOne.byColumns(), cols, rows);
        } else {
            float[] theirs = pair.cuda.download(
                    Objects.requireNonNull(pair.decoded(found.byRows()).scale()));
            float[] ours = pair.cuda.download(
                    Objects.requireNonNull(pair.decoded(given.byRows()).scale()));
            for (int g = 0; g < groups; g++) {
                assertThat(ours[g]).isEqualTo(2 * theirs[g]);
            }
        }
    }

    private static void assertSameValues(String name, GemmOperand expected, GemmOperand actual, int rows, int depth) {
        Tensor theirs = pair.cudaScope.zeros(DType.FP32, Shape.of(rows, depth));
        Tensor ours = pair.cudaScope.zeros(DType.FP32, Shape.of(rows, depth));
        pair.cuda.quantize().dequantize(expected, theirs);
        pair.cuda.quantize().dequantize(actual, ours);
        CudaPair.assertSameBits(name, pair.cuda.download(theirs), pair.cuda.download(ours));
    }

    private static int[] intsOf(Twin offsets) {
        int[] cpu = pair.cpu.downloadInts(offsets.cpu());
        assertThat(pair.cuda.downloadInts(offsets.cuda())).isEqualTo(cpu);
        return cpu;
    }

    /** Codes and factors; rows of no group are undefined. */
    private static void assertSameOperands(
            String name, int[] bound, OperandPair<GroupedOperand> expected, OperandPair<GroupedOperand> actual) {
        assertSameOperand(name + " by rows", bound, expected.byRows(), actual.byRows());
        assertSameOperand(name + " by columns", bound, expected.byColumns(), actual.byColumns());
    }

    private static void assertSameOperand(String name, int[] bound, GroupedOperand expected, GroupedOperand actual) {
        CudaGroupedOperand theirs = pair.decoded(expected);
        CudaGroupedOperand ours = pair.decoded(actual);
        CudaPair.assertSameBits(name, rowsOf(theirs, bound), rowsOf(ours, bound));
        if (theirs.scale() != null) {
            CudaPair.assertSameBits(
                    name + " factors",
                    pair.cuda.download(theirs.scale()),
                    pair.cuda.download(Objects.requireNonNull(ours.scale())));
        }
    }

    private static float[] rowsOf(CudaGroupedOperand operand, int[] bound) {
        int cols = operand.values().shape().cols();
        return Arrays.copyOfRange(
                pair.cuda.download(operand.values()), bound[0] * cols, bound[bound.length - 1] * cols);
    }

    private static Tensor side(Twin twin, boolean gpu) {
        return gpu ? twin.cuda() : twin.cpu();
    }
}
