package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.quant.Nvfp4Layout;
import io.fourfold.kernels.quant.PackedMatrix;
import io.fourfold.kernels.quant.PackingQuantizer;
import io.fourfold.kernels.quant.StochasticBits;
import io.fourfold.kernels.tensor.DType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/**
 * The operands for FP4 tensor cores hold the bytes of the CPU's packed matrices at the places of {@link Nvfp4Layout}; on any
 * GPU, for only their products need such tensor cores.
 */
@Tag("gpu")
class CudaFp4CodesTest {
    private static final OperandSpec ROWS = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
    private static final OperandSpec TILES = OperandSpec.of(Format.NVFP4, Blocks.B16X16);

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(74);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    private static Nvfp4Encoder encoder() {
        return new Nvfp4Encoder(pair.cuda.runtime(), new Nvfp4Emulation(pair.cuda.runtime()));
    }

    private record Case(OperandSpec spec, boolean byColumns) {}

    private static List<Case> cases() {
        List<Case> cases = new ArrayList<>();
        for (Rounding rounding : Rounding.values()) {
            OperandSpec rows = ROWS.withRounding(rounding);
            cases.add(new Case(rows, false));
            cases.add(new Case(rows, true));
            cases.add(new Case(rows.withHadamard(true), true));
        }
        cases.add(new Case(TILES, false));
        cases.add(new Case(TILES, true));
        return cases;
    }

    @TestFactory
    List<DynamicTest> matrices() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Case kind : cases()) {
            for (DType dtype : new DType[] {DType.BF16, DType.FP32}) {
                tests.add(DynamicTest.dynamicTest(kind + " " + dtype, () -> {
                    for (int[] shape : new int[][] {{64, 128}, {1, 16}, {33, 48}, {130, 272}}) {
                        matrix(kind, dtype, shape[0], shape[1]);
                    }
                }));
            }
        }
        return tests;
    }

    private static void matrix(Case kind, DType dtype, int rows, int cols) {
        Twin x = pair.floats(dtype, pair.awkwardValues(rows * cols), rows, cols);
        int[] ids = ids(rows);
        CudaFp4Operand operand = encoder()
                .operand(
                        CudaTensor.of(x.cuda()),
                        kind.byColumns,
                        kind.spec,
                        new RandomStream(99, 7, 12, pair.ints(ids).cuda()),
                        null,
                        null,
                        pair.cudaScope);
        PackedMatrix wanted = pack(kind, pair.cpu.download(x.cpu()), rows, cols, ids, 0, 12);
        assertThat(operand.rows()).isEqualTo(wanted.rows());
        assertThat(operand.depth()).isEqualTo(wanted.depth());
        same(operand.places(), operand.codes(), operand.scales(), operand.scale(), List.of(wanted));
        Twin out = pair.poison(DType.FP32, operand.rows(), operand.depth());
        encoder().dequantize(operand, CudaTensor.of(out.cuda()));
        GemmOperand expected = pair.cpu
                .quantize()
                .operand(
                        x.cpu(),
                        kind.byColumns,
                        kind.spec,
                        new RandomStream(99, 7, 12, pair.ints(ids).cpu()),
                        null,
                        pair.cpuScope);
        pair.cpu.quantize().dequantize(expected, out.cpu());
        pair.assertSameBits("values of " + kind, out.cpu(), out.cuda());
    }

    @TestFactory
    List<DynamicTest> groups() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Case kind : cases()) {
            tests.add(DynamicTest.dynamicTest(kind.toString(), () -> {
                ragged(kind, 144, 0, 17, 17, 64, 65, 211);
                ragged(kind, 32, 5, 5, 5);
            }));
        }
        return tests;
    }

    private static void ragged(Case kind, int cols, int... bounds) {
        int rows = bounds[bounds.length - 1] + 9;
        Twin x = pair.floats(DType.BF16, pair.awkwardValues(rows * cols), rows, cols);
        int[] ids = ids(rows);
        CudaFp4GroupedOperand operand = encoder()
                .ragged(
                        CudaTensor.of(x.cuda()),
                        CudaTensor.of(pair.ints(bounds).cuda()),
                        kind.byColumns,
                        kind.spec,
                        3,
                        new RandomStream(99, 7, 12, pair.ints(ids).cuda()),
                        null,
                        null,
                        pair.cudaScope);
        List<PackedMatrix> wanted = new ArrayList<>();
        for (int g = 0; g < bounds.length - 1; g++) {
            float[] part = pair.cpu.download(x.cpu().rows(bounds[g], bounds[g + 1]));
            wanted.add(pack(kind, part, bounds[g + 1] - bounds[g], cols, ids, bounds[g], 12 + 3 + g));
        }
        same(operand.places(pair.cuda.runtime().memory()), operand.codes(), operand.scales(), operand.scale(), wanted);
    }

    private static PackedMatrix pack(
            Case kind, float[] values, int rows, int cols, int[] ids, int firstRow, int tensorId) {
        StochasticBits bits = new StochasticBits(99, 7, tensorId, kind.byColumns ? 1 : 0, ids, firstRow, rows);
        boolean draws = kind.spec.rounding() == Rounding.STOCHASTIC;
        return PackingQuantizer.quantize(values, rows, cols, kind.byColumns, kind.spec, draws ? bits : null);
    }

    @TestFactory
    List<DynamicTest> stackedWeights() {
        List<DynamicTest> tests = new ArrayList<>();
        for (boolean byColumns : new boolean[] {false, true}) {
            tests.add(DynamicTest.dynamicTest(byColumns ? "by columns" : "by rows", () -> {
                Twin w = pair.floats(DType.FP32, pair.awkwardValues(3 * 40 * 80), 3, 40, 80);
                CudaFp4GroupedOperand operand =
                        encoder().stacked(CudaTensor.of(w.cuda()), byColumns, TILES, null, null, pair.cudaScope);
                List<PackedMatrix> wanted = new ArrayList<>();
                float[] all = pair.cpu.download(w.cpu());
                for (int g = 0; g < 3; g++) {
                    float[] part = Arrays.copyOfRange(all, g * 40 * 80, (g + 1) * 40 * 80);
                    wanted.add(PackingQuantizer.quantize(part, 40, 80, byColumns, TILES, null));
                }
                same(
                        operand.places(pair.cuda.runtime().memory()),
                        operand.codes(),
                        operand.scales(),
                        operand.scale(),
                        wanted);
            }));
        }
        return tests;
    }

    private static void same(
            Nvfp4Layout places, CudaTensor codes, CudaTensor scales, CudaTensor scale, List<PackedMatrix> wanted) {
        byte[] wantedCodes = new byte[Math.toIntExact(places.codeBytes())];
        byte[] wantedScales = new byte[Math.toIntExact(places.scaleBytes())];
        float[] factors = pair.cuda.download(scale);
        for (int g = 0; g < wanted.size(); g++) {
            places.place(g, wanted.get(g), wantedCodes, wantedScales);
            assertThat(factors[g]).isEqualTo(wanted.get(g).tensorScale());
        }
        assertThat(bytes(codes, wantedCodes.length)).isEqualTo(wantedCodes);
        assertThat(bytes(scales, wantedScales.length)).isEqualTo(wantedScales);
    }

    private static byte[] bytes(CudaTensor tensor, int count) {
        int[] words = pair.cuda.downloadInts(tensor);
        byte[] bytes = new byte[count];
        for (int i = 0; i < count; i++) {
            bytes[i] = (byte) (words[i / 4] >>> (i % 4 * 8));
        }
        return bytes;
    }

    private static int[] ids(int rows) {
        int[] ids = new int[rows];
        for (int r = 0; r < rows; r++) {
            ids[r] = 1000 + r * 7 % 501;
        }
        return ids;
    }
}
