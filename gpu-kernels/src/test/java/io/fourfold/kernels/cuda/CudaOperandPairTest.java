package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.quant.PackedMatrix;
import io.fourfold.kernels.quant.PackingQuantizer;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * Both NVFP4 operands of a matrix from one launch hold the bits that the CPU oracle and the launches for one operand make,
 * as values and as stored codes.
 */
@Tag("gpu")
class CudaOperandPairTest {
    private static final int[][] SHAPES = {{64, 128}, {16, 16}, {1, 48}, {33, 48}, {130, 1088}, {257, 32}};

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

    /** @param kept the operand by columns is stored as codes */
    private record Case(Rounding rounding, ScaleFormula formula, boolean kept) {
        OperandSpec rows() {
            return OperandSpec.of(Format.NVFP4, Blocks.B1X16)
                    .withRounding(rounding)
                    .withFormula(formula);
        }

        OperandSpec columns() {
            return rows().withHadamard(true);
        }

        OperandCopy request(boolean byColumns, Tensor ids, TensorScope work) {
            RandomStream random = rounding == Rounding.STOCHASTIC ? stream(ids, 0) : null;
            TensorScope scope = byColumns && kept ? pair.cudaScope : work;
            return new OperandCopy(byColumns ? columns() : rows(), random, null, scope);
        }
    }

    private static RandomStream stream(Tensor ids, int group) {
        return new RandomStream(0x1234_5678_9ABC_DEF0L, 17, 41 + group, ids);
    }

    private static List<Case> cases() {
        List<Case> cases = new ArrayList<>();
        for (boolean kept : new boolean[] {false, true}) {
            for (Rounding rounding : Rounding.values()) {
                cases.add(new Case(rounding, ScaleFormula.TE_2_14, kept));
            }
            cases.add(new Case(Rounding.NEAREST_EVEN, ScaleFormula.PAPER, kept));
        }
        return cases;
    }

    @TestFactory
    List<DynamicTest> matrices() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Case kind : cases()) {
            tests.add(DynamicTest.dynamicTest(kind.toString(), () -> {
                for (int[] shape : SHAPES) {
                    matrix(kind, shape[0], shape[1]);
                }
            }));
        }
        return tests;
    }

    private static void matrix(Case kind, int rows, int cols) {
        Twin x = pair.floats(DType.BF16, pair.awkwardValues(rows * cols), rows, cols);
        Twin ids = rowIds(rows);
        try (TensorScope work = pair.cuda.scope(Region.WORKSPACE)) {
            OperandPair<GemmOperand> both = pair.cuda
                    .quantize()
                    .operandPair(
                            x.cuda(),
                            kind.request(false, ids.cuda(), work),
                            kind.request(true, ids.cuda(), work),
                            null);
            assertThat(both.byColumns() instanceof CudaPackedOperand).isEqualTo(kind.kept);
            for (boolean byColumns : new boolean[] {false, true}) {
                GemmOperand actual = byColumns ? both.byColumns() : both.byRows();
                GemmOperand expected = expected(kind, x.cpu(), ids.cpu(), byColumns, 0);
                pair.assertSameValues(kind + " [" + rows + ", " + cols + "] " + byColumns, expected, actual);
            }
        }
    }

    private static GemmOperand expected(Case kind, Tensor x, Tensor ids, boolean byColumns, int group) {
        return pair.cpu
                .quantize()
                .operand(
                        x,
                        byColumns,
                        byColumns ? kind.columns() : kind.rows(),
                        stream(ids, group),
                        null,
                        pair.cpuScope);
    }

    @TestFactory
    List<DynamicTest> groups() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Case kind : cases()) {
            tests.add(DynamicTest.dynamicTest(kind.toString(), () -> {
                ragged(kind, 144, 0, 17, 17, 64, 65, 131);
                ragged(kind, 32, 5, 5, 5);
                ragged(kind, 1040, 0, 300);
            }));
        }
        return tests;
    }

    private static void ragged(Case kind, int cols, int... bounds) {
        int rows = bounds[bounds.length - 1] + 9; // rows behind the last group are nobody's
        int firstGroup = 3;
        Twin x = pair.floats(DType.BF16, pair.awkwardValues(rows * cols), rows, cols);
        Twin offsets = pair.ints(bounds);
        Twin ids = rowIds(rows);
        try (TensorScope work = pair.cuda.scope(Region.WORKSPACE)) {
            OperandPair<GroupedOperand> both = pair.cuda
                    .quantize()
                    .raggedPair(
                            x.cuda(),
                            offsets.cuda(),
                            firstGroup,
                            kind.request(false, ids.cuda(), work),
                            kind.request(true, ids.cuda(), work),
                            null);
            for (boolean byColumns : new boolean[] {false, true}) {
                CudaGroupedOperand actual = decoded(byColumns ? both.byColumns() : both.byRows(), work);
                float[] values = pair.cuda.download(actual.values());
                float[] scales = pair.cuda.download(Objects.requireNonNull(actual.scale()));
                int[] begins = pair.cuda.downloadInts(Objects.requireNonNull(actual.offsets()));
                for (int g = 0; g < bounds.length - 1; g++) {
                    int size = bounds[g + 1] - bounds[g];
                    GemmOperand expected = expected(
                            kind,
                            x.cpu().rows(bounds[g], bounds[g + 1]),
                            ids.cpu().view(bounds[g], Shape.of(size)),
                            byColumns,
                            firstGroup + g);
                    Tensor out = pair.cpuScope.allocate(DType.FP32, expected.rows(), expected.depth());
                    pair.cpu.quantize().dequantize(expected, out);
                    float[] wanted = pair.cpu.download(out);
                    float[] found = new float[wanted.length];
                    for (int r = 0; r < expected.rows(); r++) {
                        for (int k = 0; k < expected.depth(); k++) {
                            int row = begins[g] + (byColumns ? k : r);
                            found[r * expected.depth() + k] = values[row * cols + (byColumns ? r : k)] * scales[g];
                        }
                    }
                    CudaPair.assertSameBits(kind + " group " + g + " of " + size + " " + byColumns, wanted, found);
                }
            }
        }
    }

    private static CudaGroupedOperand decoded(GroupedOperand operand, TensorScope work) {
        return operand instanceof CudaPackedGroupedOperand packed
                ? packed.decoded(pair.cuda.runtime(), work)
                : (CudaGroupedOperand) operand;
    }

    /** Many warps at once, groups of all sizes: the same as one launch for each operand. */
    @TestFactory
    List<DynamicTest> largeMatrices() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Case kind : cases()) {
            for (int groups : new int[] {1, 3, 40, 1024}) {
                tests.add(DynamicTest.dynamicTest(kind + " " + groups, () -> large(kind, 4100, 768, groups)));
            }
        }
        return tests;
    }

    private static void large(Case kind, int rows, int cols, int groups) {
        int[] bounds = new int[groups + 1];
        for (int g = 1; g < groups; g++) {
            bounds[g] = pair.random.nextInt(rows);
        }
        bounds[groups] = rows;
        Arrays.sort(bounds);
        try (TensorScope work = pair.cuda.scope(Region.WORKSPACE)) {
            Tensor x = work.allocate(DType.BF16, rows, cols);
            pair.cuda.upload(pair.gaussianValues(1, rows * cols), x);
            Tensor offsets = work.allocate(DType.INT32, groups + 1);
            pair.cuda.upload(bounds, offsets);
            Tensor ids = rowIds(rows).cuda();
            OperandCopy byRows = kind.request(false, ids, work);
            OperandCopy byColumns = kind.request(true, ids, work);
            for (boolean given : new boolean[] {false, true}) {
                OperandPair<GroupedOperand> both =
                        pair.cuda.quantize().raggedPair(x, offsets, 0, byRows, byColumns, given ? amax -> {} : null);
                same(single(x, offsets, false, byRows, work), both.byRows(), work);
                same(single(x, offsets, true, byColumns, work), both.byColumns(), work);
            }
        }
    }

    private static GroupedOperand single(
            Tensor x, Tensor offsets, boolean byColumns, OperandCopy request, TensorScope work) {
        return pair.cuda.quantize().ragged(x, offsets, byColumns, request.spec(), 0, request.random(), null, work);
    }

    private static void same(GroupedOperand one, GroupedOperand other, TensorScope work) {
        CudaGroupedOperand expected = decoded(one, work);
        CudaGroupedOperand actual = decoded(other, work);
        CudaPair.assertSameBits("scales", floats(expected.scale()), floats(actual.scale()));
        int[] begins = pair.cuda.downloadInts(Objects.requireNonNull(actual.offsets()));
        assertThat(begins).isEqualTo(pair.cuda.downloadInts(Objects.requireNonNull(expected.offsets())));
        int count = begins[begins.length - 1] * expected.values().shape().cols();
        CudaPair.assertSameBits(
                "values",
                Arrays.copyOf(floats(expected.values()), count),
                Arrays.copyOf(floats(actual.values()), count));
    }

    private static float[] floats(@Nullable CudaTensor tensor) {
        return pair.cuda.download(Objects.requireNonNull(tensor));
    }

    /** What is kept has the codes and scale bytes of the definition. */
    @Test
    void storedCodesAreThoseOfTheDefinition() {
        int rows = 83;
        int cols = 96;
        float[] values = pair.awkwardValues(rows * cols);
        Twin x = pair.floats(DType.BF16, values, rows, cols);
        Case kind = new Case(Rounding.NEAREST_EVEN, ScaleFormula.TE_2_14, true);
        try (TensorScope work = pair.cuda.scope(Region.WORKSPACE)) {
            CudaPackedOperand kept = (CudaPackedOperand) pair.cuda
                    .quantize()
                    .operandPair(
                            x.cuda(), kind.request(false, x.cuda(), work), kind.request(true, x.cuda(), work), null)
                    .byColumns();
            PackedMatrix wanted =
                    PackingQuantizer.quantize(pair.cpu.download(x.cpu()), rows, cols, true, kind.columns(), null);
            int[] codes = pair.cuda.downloadInts(kept.columns().codes());
            int[] scales = pair.cuda.downloadInts(kept.columns().scales());
            int blocks = kept.columns().blocks();
            assertThat(blocks * 16).isEqualTo(wanted.depth());
            for (int c = 0; c < cols; c++) {
                for (int k = 0; k < wanted.depth(); k++) {
                    int at = k / 16 * cols + c;
                    int code = codes[at * 2 + k % 16 / 8] >>> (k % 8 * 4) & 0xF;
                    assertThat(code).as("code of column %d, row %d", c, k).isEqualTo(wanted.code(c, k));
                    int scale = scales[at / 4] >>> (at % 4 * 8) & 0xFF;
                    assertThat(scale)
                            .as("scale of column %d, row %d", c, k)
                            .isEqualTo(wanted.scales()[c * blocks + k / 16] & 0xFF);
                }
            }
        }
    }

    private static Twin rowIds(int rows) {
        int[] ids = new int[rows];
        for (int r = 0; r < rows; r++) {
            ids[r] = 1000 + r * 7 % 501;
        }
        return pair.ints(ids);
    }
}
