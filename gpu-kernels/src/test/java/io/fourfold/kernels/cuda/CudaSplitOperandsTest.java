package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.cuda.CudaRanks.Rank;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Operands of which every rank has some columns hold, on the GPU, the bits that the CPU oracle gives the whole matrix: the
 * tensor scale of the whole, and the random bits of an element's place in it. For every kind of operand that a split layer
 * makes: matrices, stacked weights, and tokens divided by offsets.
 */
@Tag("gpu")
class CudaSplitOperandsTest {
    private static final int RANKS = 2;
    private static final int FIRST_GROUP = 3;
    private static final long SEED = 0x1234_5678_9ABC_DEF0L;
    private static final int TENSOR = 41;

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @SuppressWarnings("NullAway.Init")
    private static CudaRanks ranks;

    @BeforeAll
    static void open() throws Exception {
        pair = CudaPair.open(17);
        ranks = CudaRanks.open(RANKS);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() throws Exception {
        if (ranks != null) {
            ranks.close();
        }
        if (pair != null) {
            pair.close();
        }
    }

    private record Case(OperandSpec spec, boolean byColumns, DType dtype) {
        @Override
        public String toString() {
            return spec.format() + " " + spec.blocks() + (byColumns ? " by columns" : " by rows")
                    + (spec.hadamard() ? " hadamard" : "") + " " + spec.rounding() + " " + dtype;
        }
    }

    private static List<Case> cases() {
        List<Case> cases = new ArrayList<>();
        for (DType dtype : new DType[] {DType.BF16, DType.FP32}) {
            for (boolean byColumns : new boolean[] {false, true}) {
                for (Rounding rounding : Rounding.values()) {
                    for (Blocks blocks : new Blocks[] {Blocks.B1X16, Blocks.B16X16}) {
                        OperandSpec spec = OperandSpec.of(Format.NVFP4, blocks).withRounding(rounding);
                        cases.add(new Case(spec, byColumns, dtype));
                        if (byColumns && blocks == Blocks.B1X16) {
                            cases.add(new Case(spec.withHadamard(true), true, dtype));
                        }
                    }
                    cases.add(new Case(
                            OperandSpec.of(Format.MXFP4, Blocks.B1X32).withRounding(rounding), byColumns, dtype));
                }
                cases.add(new Case(OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR), byColumns, dtype));
            }
        }
        return cases;
    }

    @TestFactory
    List<DynamicTest> matrices() {
        return tests(cases(), kind -> {
            matrix(kind, 80, 256);
            matrix(kind, 33, 192);
            matrix(kind, 7, 1344);
        });
    }

    private static void matrix(Case kind, int rows, int cols) throws Exception {
        float[] x = values(kind.dtype, rows, cols);
        int[] ids = rowIds(rows);
        Whole whole = whole(kind, x, rows, cols, ids, 0);
        int part = cols / RANKS;
        List<float[]> parts = ranks.run(rank -> {
            GemmOperand operand = rank.backend()
                    .quantize()
                    .operand(
                            rank.floats(kind.dtype, columns(x, rows, cols, rank.index() * part, part), rows, part),
                            kind.byColumns,
                            kind.spec,
                            random(kind, rank, ids, part),
                            null,
                            exchange(rank),
                            rank.scope());
            Tensor out = rank.scope().allocate(DType.FP32, operand.rows(), operand.depth());
            rank.backend().quantize().dequantize(operand, out);
            return rank.backend().download(out);
        });
        for (int rank = 0; rank < RANKS; rank++) {
            CudaPair.assertSameBits(
                    kind + " [" + rows + ", " + cols + "], rank " + rank,
                    whole.columns(rank * part, part),
                    parts.get(rank));
        }
    }

    /** Weights split by their columns and by their rows. */
    @TestFactory
    List<DynamicTest> stackedWeights() {
        List<Case> weights = cases().stream()
                .filter(kind -> kind.spec.rounding() == Rounding.NEAREST_EVEN && !kind.spec.hadamard())
                .toList();
        return tests(weights, kind -> {
            stacked(kind, 3, 64, 128, false);
            stacked(kind, 3, 64, 96, true);
        });
    }

    private static void stacked(Case kind, int groups, int rows, int cols, boolean splitRows) throws Exception {
        float[][] x = new float[groups][];
        Arrays.setAll(x, g -> values(kind.dtype, rows, cols));
        int partRows = splitRows ? rows / RANKS : rows;
        int part = splitRows ? cols : cols / RANKS;
        List<float[][]> parts = ranks.run(rank -> {
            float[] own = new float[groups * partRows * part];
            for (int g = 0; g < groups; g++) {
                float[] members = splitRows
                        ? Arrays.copyOfRange(x[g], rank.index() * partRows * cols, (rank.index() + 1) * partRows * cols)
                        : columns(x[g], rows, cols, rank.index() * part, part);
                System.arraycopy(members, 0, own, g * partRows * part, members.length);
            }
            CudaGroupedOperand operand = decoded(
                    rank,
                    rank.backend()
                            .quantize()
                            .stacked(
                                    rank.floats(kind.dtype, own, groups, partRows, part),
                                    kind.byColumns,
                                    kind.spec,
                                    null,
                                    exchange(rank),
                                    rank.scope()));
            float[] values = rank.backend().download(operand.values());
            float[] scales = scales(rank, operand);
            float[][] out = new float[groups][partRows * part];
            for (int g = 0; g < groups; g++) {
                for (int r = 0; r < operand.width(); r++) {
                    for (int k = 0; k < operand.depth(); k++) {
                        int at = operand.depthMajor() ? k * operand.width() + r : r * operand.depth() + k;
                        out[g][r * operand.depth() + k] = values[g * partRows * part + at] * scales[g];
                    }
                }
            }
            return out;
        });
        for (int g = 0; g < groups; g++) {
            Whole whole = whole(kind, x[g], rows, cols, rowIds(rows), g);
            for (int rank = 0; rank < RANKS; rank++) {
                float[] expected = splitRows ? whole.rows(rank * partRows, partRows) : whole.columns(rank * part, part);
                CudaPair.assertSameBits(
                        kind + (splitRows ? " rows" : " columns") + " of group " + g + ", rank " + rank,
                        expected,
                        parts.get(rank)[g]);
            }
        }
    }

    /** Tokens of experts whose columns are split. */
    @TestFactory
    List<DynamicTest> groupsOfTokens() {
        return tests(cases(), kind -> ragged(kind, 192, 0, 33, 33, 64, 101));
    }

    private static void ragged(Case kind, int cols, int... bounds) throws Exception {
        int rows = bounds[bounds.length - 1];
        float[] x = values(kind.dtype, rows, cols);
        int[] ids = rowIds(rows);
        int part = cols / RANKS;
        List<float[][]> parts = ranks.run(rank -> {
            CudaGroupedOperand operand = decoded(
                    rank,
                    rank.backend()
                            .quantize()
                            .ragged(
                                    rank.floats(
                                            kind.dtype, columns(x, rows, cols, rank.index() * part, part), rows, part),
                                    rank.ints(bounds),
                                    kind.byColumns,
                                    kind.spec,
                                    FIRST_GROUP,
                                    random(kind, rank, ids, part),
                                    null,
                                    exchange(rank),
                                    rank.scope()));
            return new float[][] {
                rank.backend().download(operand.values()),
                scales(rank, operand),
                floats(rank.backend().downloadInts(Objects.requireNonNull(operand.offsets())))
            };
        });
        for (int g = 0; g + 1 < bounds.length; g++) {
            int size = bounds[g + 1] - bounds[g];
            Whole whole = whole(
                    kind,
                    Arrays.copyOfRange(x, bounds[g] * cols, bounds[g + 1] * cols),
                    size,
                    cols,
                    Arrays.copyOfRange(ids, bounds[g], bounds[g + 1]),
                    FIRST_GROUP + g);
            for (int rank = 0; rank < RANKS; rank++) {
                float[] found = new float[whole.storedRows * part];
                for (int r = 0; r < whole.storedRows; r++) {
                    for (int c = 0; c < part; c++) {
                        int at = ((int) parts.get(rank)[2][g] + r) * part + c;
                        found[kind.byColumns ? c * whole.storedRows + r : r * part + c] =
                                parts.get(rank)[0][at] * parts.get(rank)[1][g];
                    }
                }
                CudaPair.assertSameBits(
                        kind + " group " + g + " of " + size + ", rank " + rank,
                        whole.columns(rank * part, part),
                        found);
            }
        }
    }

    /** The library's maximum over GPUs drops NaN, so this exchange does, too. */
    @TestFactory
    List<DynamicTest> whatIsNotFiniteInOnePartShowsInAll() {
        List<Case> scaled = cases().stream()
                .filter(kind -> kind.spec.format() != Format.MXFP4 && kind.spec.rounding() == Rounding.NEAREST_EVEN)
                .toList();
        return tests(scaled, kind -> {
            for (float broken : new float[] {Float.NaN, Float.NEGATIVE_INFINITY}) {
                List<float[]> parts = ranks.run(rank -> {
                    float[] x = new float[32 * 64];
                    Arrays.fill(x, 1f);
                    x[700] = rank.index() == 1 ? broken : 2f;
                    AmaxExchange exchange = amax -> {
                        float[] own = rank.backend().download(amax);
                        own[0] = Float.isNaN(own[0]) ? 0f : own[0];
                        rank.backend().upload(own, amax);
                        rank.group().allReduce(amax, ReduceOp.MAX);
                    };
                    Tensor source = rank.floats(kind.dtype, x, 32, 64);
                    GemmOperand operand = rank.backend()
                            .quantize()
                            .operand(source, kind.byColumns, kind.spec, null, null, exchange, rank.scope());
                    Tensor out = rank.scope().allocate(DType.FP32, operand.rows(), operand.depth());
                    rank.backend().quantize().dequantize(operand, out);
                    return rank.backend().download(out);
                });
                for (float[] part : parts) {
                    for (float value : part) {
                        assertThat(Float.isFinite(value))
                                .as("%s of %s", value, kind)
                                .isFalse();
                    }
                }
            }
        });
    }

    @ParameterizedTest
    @CsvSource({"16", "48"})
    void columnPlacesMustFitTheMatrix(int cols) throws Exception {
        OperandSpec spec = OperandSpec.of(Format.NVFP4, Blocks.B1X16).withRounding(Rounding.STOCHASTIC);
        List<String> messages = ranks.run(rank -> {
            RandomStream random = new RandomStream(1, 2, 3, null, rank.ints(0, 1));
            Tensor x = rank.floats(DType.FP32, new float[cols], 1, cols);
            try {
                rank.backend().quantize().operand(x, false, spec, random, null, null, rank.scope());
                return "none";
            } catch (IllegalArgumentException e) {
                return String.valueOf(e.getMessage());
            }
        });
        assertThat(messages.get(0)).contains("columnGroups");
    }

    private interface Check {
        void run(Case kind) throws Exception;
    }

    private static List<DynamicTest> tests(List<Case> cases, Check check) {
        return cases.stream()
                .map(kind -> DynamicTest.dynamicTest(kind.toString(), () -> check.run(kind)))
                .toList();
    }

    /** The oracle's values of a whole matrix in the operand's orientation. */
    private record Whole(boolean byColumns, int storedRows, int cols, float[] values) {
        /** Those of some columns of the source. */
        float[] columns(int first, int count) {
            return byColumns
                    ? Arrays.copyOfRange(values, first * storedRows, (first + count) * storedRows)
                    : CudaSplitOperandsTest.columns(values, storedRows, cols, first, count);
        }

        /** Those of some rows of the source. */
        float[] rows(int first, int count) {
            return byColumns
                    ? CudaSplitOperandsTest.columns(values, cols, storedRows, first, count)
                    : Arrays.copyOfRange(values, first * cols, (first + count) * cols);
        }
    }

    private static Whole whole(Case kind, float[] x, int rows, int cols, int[] ids, int group) {
        Tensor source = pair.cpuScope.allocate(kind.dtype, rows, cols);
        pair.cpu.upload(x, source);
        Tensor names = pair.cpuScope.allocate(DType.INT32, ids.length);
        pair.cpu.upload(ids, names);
        GemmOperand operand = pair.cpu
                .quantize()
                .operand(
                        source,
                        kind.byColumns,
                        kind.spec,
                        new RandomStream(SEED, 17, TENSOR + group, names),
                        null,
                        pair.cpuScope);
        Tensor out = pair.cpuScope.allocate(DType.FP32, Shape.of(operand.rows(), operand.depth()));
        pair.cpu.quantize().dequantize(operand, out);
        int storedRows = kind.byColumns ? operand.depth() : operand.rows();
        return new Whole(kind.byColumns, storedRows, cols, pair.cpu.download(out));
    }

    private static RandomStream random(Case kind, Rank rank, int[] ids, int part) {
        int[] places = IntStream.range(0, part / 16)
                .map(i -> rank.index() * part / 16 + i)
                .toArray();
        return new RandomStream(SEED, 17, TENSOR, rank.ints(ids), rank.ints(places));
    }

    private static AmaxExchange exchange(Rank rank) {
        return amax -> rank.group().allReduce(amax, ReduceOp.MAX);
    }

    private static CudaGroupedOperand decoded(Rank rank, GroupedOperand operand) {
        return (CudaGroupedOperand) new Fp8Decoder(rank.backend().runtime()).decoded(operand, rank.scope());
    }

    private static float[] scales(Rank rank, CudaGroupedOperand operand) {
        CudaTensor scale = operand.scale();
        float[] ones = new float[operand.groups()];
        Arrays.fill(ones, 1f);
        return scale == null ? ones : rank.backend().download(scale);
    }

    /** Awkward values as the type holds them; rank 1 has the largest, so that ranks which do not exchange it show. */
    private static float[] values(DType dtype, int rows, int cols) {
        float[] x = pair.awkwardValues(rows * cols);
        x[x.length - 1] = 37f;
        if (dtype == DType.BF16) {
            for (int i = 0; i < x.length; i++) {
                x[i] = BFloat16.round(x[i]);
            }
        }
        return x;
    }

    private static int[] rowIds(int rows) {
        return IntStream.range(0, rows).map(r -> 1000 + r * 7 % 501).toArray();
    }

    private static float[] floats(int[] values) {
        float[] out = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            out[i] = values[i];
        }
        return out;
    }

    private static float[] columns(float[] x, int rows, int cols, int first, int count) {
        float[] part = new float[rows * count];
        for (int r = 0; r < rows; r++) {
            System.arraycopy(x, r * cols + first, part, r * count, count);
        }
        return part;
    }
}
