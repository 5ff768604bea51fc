package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/** NVFP4 and MXFP4 operands, and FP8 operands with one scale per tensor, on the GPU hold the bits of the CPU oracle: values, tensor scales, statistics. */
@Tag("gpu")
class CudaQuantizeParityTest {
    private static final int[][] SHAPES = {{64, 128}, {16, 16}, {1, 48}, {33, 40}, {50, 7}, {130, 1088}, {257, 24}};

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(71);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    private record Case(OperandSpec spec, boolean byColumns) {
        @Override
        public String toString() {
            return spec.format() + " " + spec.blocks() + (byColumns ? " by columns" : " by rows")
                    + (spec.hadamard() ? " hadamard" : "") + " " + spec.rounding() + " " + spec.formula();
        }
    }

    private static List<Case> cases() {
        List<Case> cases = new ArrayList<>();
        for (Rounding rounding : Rounding.values()) {
            OperandSpec rows = OperandSpec.of(Format.NVFP4, Blocks.B1X16).withRounding(rounding);
            OperandSpec tiles = OperandSpec.of(Format.NVFP4, Blocks.B16X16).withRounding(rounding);
            cases.add(new Case(rows, false));
            cases.add(new Case(rows, true));
            cases.add(new Case(rows.withHadamard(true), true));
            cases.add(new Case(tiles, false));
            cases.add(new Case(tiles, true));
            OperandSpec mxfp4 = OperandSpec.of(Format.MXFP4, Blocks.B1X32).withRounding(rounding);
            cases.add(new Case(mxfp4, false));
            cases.add(new Case(mxfp4, true));
        }
        cases.add(new Case(OperandSpec.of(Format.NVFP4, Blocks.B1X16).withFormula(ScaleFormula.PAPER), false));
        cases.add(new Case(OperandSpec.of(Format.NVFP4, Blocks.B16X16).withFormula(ScaleFormula.PAPER), true));
        for (boolean byColumns : new boolean[] {false, true}) {
            cases.add(new Case(OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR), byColumns));
        }
        return cases;
    }

    @TestFactory
    List<DynamicTest> matrices() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Case kind : cases()) {
            for (DType dtype : new DType[] {DType.BF16, DType.FP32}) {
                tests.add(DynamicTest.dynamicTest(kind + " " + dtype, () -> {
                    for (int[] shape : SHAPES) {
                        matrix(kind, dtype, shape[0], shape[1]);
                    }
                }));
            }
        }
        return tests;
    }

    private static void matrix(Case kind, DType dtype, int rows, int cols) {
        Twin x = pair.floats(dtype, pair.awkwardValues(rows * cols), rows, cols);
        Twin ids = rowIds(rows);
        List<QuantStats> statistics = new ArrayList<>();
        for (boolean probed : new boolean[] {false, true}) {
            GemmOperand expected = pair.cpu
                    .quantize()
                    .operand(
                            x.cpu(),
                            kind.byColumns,
                            kind.spec,
                            stream(kind, ids.cpu(), 0),
                            probed ? statistics::add : null,
                            pair.cpuScope);
            GemmOperand actual = pair.cuda
                    .quantize()
                    .operand(
                            x.cuda(),
                            kind.byColumns,
                            kind.spec,
                            stream(kind, ids.cuda(), 0),
                            probed ? statistics::add : null,
                            pair.cudaScope);
            pair.assertSameValues(kind + " [" + rows + ", " + cols + "] " + dtype, expected, actual);
        }
        assertSameStatistics(statistics.get(0), statistics.get(1));
    }

    @TestFactory
    List<DynamicTest> groups() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Case kind : cases()) {
            tests.add(DynamicTest.dynamicTest(kind.toString(), () -> {
                ragged(kind, 136, 0, 17, 17, 64, 65, 131);
                ragged(kind, 24, 5, 5, 5);
                ragged(kind, 1040, 0, 300);
            }));
        }
        return tests;
    }

    private static void ragged(Case kind, int cols, int... bounds) {
        int rows = bounds[bounds.length - 1] + 9; // rows behind the last group are nobody's
        int groups = bounds.length - 1;
        int firstGroup = 3;
        Twin x = pair.floats(DType.BF16, pair.awkwardValues(rows * cols), rows, cols);
        Twin offsets = pair.ints(bounds);
        Twin ids = rowIds(rows);
        CudaGroupedOperand actual = pair.decoded(pair.cuda
                .quantize()
                .ragged(
                        x.cuda(),
                        offsets.cuda(),
                        kind.byColumns,
                        kind.spec,
                        firstGroup,
                        stream(kind, ids.cuda(), 0),
                        null,
                        pair.cudaScope));
        float[] values = pair.cuda.download(actual.values());
        float[] scales = scales(actual);
        int[] begins = pair.cuda.downloadInts(Objects.requireNonNull(actual.offsets()));
        for (int g = 0; g < groups; g++) {
            int size = bounds[g + 1] - bounds[g];
            Tensor part = x.cpu().rows(bounds[g], bounds[g + 1]);
            Tensor groupIds = ids.cpu().view(bounds[g], Shape.of(size));
            GemmOperand expected = pair.cpu
                    .quantize()
                    .operand(
                            part,
                            kind.byColumns,
                            kind.spec,
                            stream(kind, groupIds, firstGroup + g),
                            null,
                            pair.cpuScope);
            Tensor out = pair.cpuScope.allocate(DType.FP32, expected.rows(), expected.depth());
            pair.cpu.quantize().dequantize(expected, out);
            float[] wanted = pair.cpu.download(out);
            float[] found = new float[wanted.length];
            for (int r = 0; r < expected.rows(); r++) {
                for (int k = 0; k < expected.depth(); k++) {
                    int row = begins[g] + (kind.byColumns ? k : r);
                    int col = kind.byColumns ? r : k;
                    found[r * expected.depth() + k] = values[row * cols + col] * scales[g];
                }
            }
            CudaPair.assertSameBits(kind + " group " + g + " of " + size, wanted, found);
        }
    }

    @TestFactory
    List<DynamicTest> stackedWeights() {
        List<DynamicTest> tests = new ArrayList<>();
        for (boolean byColumns : new boolean[] {false, true}) {
            for (ScaleFormula formula : ScaleFormula.values()) {
                tests.add(DynamicTest.dynamicTest((byColumns ? "by columns " : "by rows ") + formula, () -> {
                    stacked(byColumns, formula, 3, 40, 72);
                    stacked(byColumns, formula, 5, 48, 1040);
                    stacked(byColumns, formula, 70, 16, 16);
                }));
            }
        }
        return tests;
    }

    private static void stacked(boolean byColumns, ScaleFormula formula, int groups, int rows, int cols) {
        OperandSpec spec = OperandSpec.of(Format.NVFP4, Blocks.B16X16).withFormula(formula);
        Twin w = pair.floats(DType.FP32, pair.awkwardValues(groups * rows * cols), groups, rows, cols);
        CudaGroupedOperand actual =
                (CudaGroupedOperand) pair.cuda.quantize().stacked(w.cuda(), byColumns, spec, null, pair.cudaScope);
        float[] values = pair.cuda.download(actual.values());
        float[] scales = pair.cuda.download(Objects.requireNonNull(actual.scale()));
        for (int g = 0; g < groups; g++) {
            Tensor group = w.cpu().view((long) g * rows * cols, Shape.of(rows, cols));
            GemmOperand expected = pair.cpu.quantize().operand(group, false, spec, null, null, pair.cpuScope);
            Tensor out = pair.cpuScope.allocate(DType.FP32, rows, cols);
            pair.cpu.quantize().dequantize(expected, out);
            float[] found = new float[rows * cols];
            for (int i = 0; i < found.length; i++) {
                found[i] = values[g * rows * cols + i] * scales[g];
            }
            CudaPair.assertSameBits("group " + g, pair.cpu.download(out), found);
        }
    }

    /** Factors of the groups; MXFP4 has none. */
    private static float[] scales(CudaGroupedOperand operand) {
        CudaTensor scale = operand.scale();
        float[] ones = new float[operand.groups()];
        Arrays.fill(ones, 1f);
        return scale == null ? ones : pair.cuda.download(scale);
    }

    private static RandomStream stream(Case kind, Tensor ids, int group) {
        return new RandomStream(0x1234_5678_9ABC_DEF0L, 17, 41 + group, ids);
    }

    private static Twin rowIds(int rows) {
        int[] ids = new int[rows];
        for (int r = 0; r < rows; r++) {
            ids[r] = 1000 + r * 7 % 501;
        }
        return pair.ints(ids);
    }

    private static void assertSameStatistics(QuantStats expected, QuantStats actual) {
        assertThat(actual.elements()).isEqualTo(expected.elements());
        assertThat(actual.zeroCodes()).isEqualTo(expected.zeroCodes());
        assertThat(actual.saturated()).isEqualTo(expected.saturated());
        assertThat(actual.blocks()).isEqualTo(expected.blocks());
        assertThat(actual.scaleUnderflows()).isEqualTo(expected.scaleUnderflows());
        assertThat(actual.amax()).isEqualTo(expected.amax());
        assertThat(actual.signal()).isCloseTo(expected.signal(), within(1e-9 * expected.signal()));
        assertThat(actual.noise()).isCloseTo(expected.noise(), within(1e-6 * expected.noise()));
    }
}
