package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.util.Objects;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Weights' codes are the CPU's, word for word, and their operands those that the GPU makes of the weights. */
@Tag("gpu")
class CudaWeightCodesTest {
    private static final OperandSpec TILES = OperandSpec.of(Format.NVFP4, Blocks.B16X16);

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(91);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    private record Coded(Twin weights, Twin amax, Twin words) {}

    /** Codes of [matrices, rows, cols] made in two calls that meet inside a matrix. */
    private static Coded coded(OperandSpec spec, int matrices, int rows, int cols) {
        Twin weights = pair.floats(DType.FP32, pair.awkwardValues(matrices * rows * cols), matrices, rows, cols);
        Twin amax = pair.poison(DType.FP32, matrices);
        long[] bounds = new long[2 * matrices];
        for (int m = 0; m < matrices; m++) {
            bounds[2 * m] = (long) m * rows * cols;
            bounds[2 * m + 1] = (m + 1L) * rows * cols;
        }
        int[] places = IntStream.range(0, matrices).toArray();
        pair.cpu.weightCodes().largest(weights.cpu(), bounds, places, amax.cpu());
        pair.cuda.weightCodes().largest(weights.cuda(), bounds, places, amax.cuda());
        pair.assertSameBits("amax", amax.cpu(), amax.cuda());
        int stripWords = WeightCodeOps.stripWords(cols);
        Twin words = pair.ints(new int[matrices * rows / 16 * stripWords]);
        int meet = matrices * rows / 16 / 2 * 16;
        for (int[] part : new int[][] {{0, meet}, {meet, matrices * rows - meet}}) {
            long from = (long) part[0] / 16 * stripWords;
            Shape length = Shape.of(part[1] / 16 * stripWords);
            Twin values = weights.view((long) part[0] * cols, part[1], cols);
            pair.cpu
                    .weightCodes()
                    .encode(
                            values.cpu(),
                            part[0],
                            rows,
                            spec,
                            amax.cpu(),
                            words.cpu().view(from, length));
            pair.cuda
                    .weightCodes()
                    .encode(
                            values.cuda(),
                            part[0],
                            rows,
                            spec,
                            amax.cuda(),
                            words.cuda().view(from, length));
        }
        assertThat(pair.cuda.downloadInts(words.cuda())).isEqualTo(pair.cpu.downloadInts(words.cpu()));
        return new Coded(weights, amax, words);
    }

    @ParameterizedTest
    @CsvSource({
        "1, 16, 16, TE_2_14",
        "1, 64, 128, TE_2_14",
        "1, 144, 272, PAPER",
        "3, 48, 80, TE_2_14",
        "5, 16, 4096, TE_2_14"
    })
    void codesAndOperands(int matrices, int rows, int cols, ScaleFormula formula) {
        OperandSpec spec = TILES.withFormula(formula);
        Coded coded = coded(spec, matrices, rows, cols);
        OperandCopy copy = new OperandCopy(spec, null, null, pair.cudaScope);
        var made = pair.cuda.weightCodes().stacked(coded.words.cuda(), rows, cols, coded.amax.cuda(), copy, copy);
        for (boolean byColumns : new boolean[] {false, true}) {
            GroupedOperand expected =
                    pair.cuda.quantize().stacked(coded.weights.cuda(), byColumns, spec, null, pair.cudaScope);
            CudaGroupedOperand wanted = CudaGroupedOperand.of(expected, Layout.STACKED, "expected");
            CudaGroupedOperand given =
                    CudaGroupedOperand.of(byColumns ? made.byColumns() : made.byRows(), Layout.STACKED, "made");
            assertThat(given.width()).isEqualTo(wanted.width());
            assertThat(given.depth()).isEqualTo(wanted.depth());
            assertThat(given.depthMajor()).isEqualTo(wanted.depthMajor());
            CudaPair.assertSameBits("values", download(wanted.values()), download(given.values()));
            CudaPair.assertSameBits("scales", download(wanted.scale()), download(given.scale()));
        }
        if (matrices > 1) {
            return;
        }
        OperandPair<GemmOperand> one =
                pair.cuda.weightCodes().operands(coded.words.cuda(), rows, cols, coded.amax.cuda(), copy, copy);
        for (boolean byColumns : new boolean[] {false, true}) {
            Twin out = pair.poison(DType.FP32, byColumns ? cols : rows, byColumns ? rows : cols);
            GemmOperand expected = pair.cpu
                    .quantize()
                    .operand(
                            coded.weights.cpu().view(0, Shape.of(rows, cols)),
                            byColumns,
                            spec,
                            null,
                            null,
                            pair.cpuScope);
            pair.cpu.quantize().dequantize(expected, out.cpu());
            pair.cuda.quantize().dequantize(byColumns ? one.byColumns() : one.byRows(), out.cuda());
            pair.assertSameBits("one matrix", out.cpu(), out.cuda());
        }
    }

    /** The bytes, not products, which need FP4 tensor cores. */
    @ParameterizedTest
    @CsvSource({"1, 16, 16", "1, 144, 272", "3, 48, 80", "2, 128, 64"})
    void codesWhereFp4TensorCoresReadThem(int matrices, int rows, int cols) {
        Coded coded = coded(TILES, matrices, rows, cols);
        CudaRuntime cuda = pair.cuda.runtime();
        Nvfp4Encoder encoder = new Nvfp4Encoder(cuda, new Nvfp4Emulation(cuda));
        try (CudaWeightCodes codes = new CudaWeightCodes(cuda, true)) {
            OperandCopy copy = new OperandCopy(TILES, null, null, pair.cudaScope);
            var made = codes.stacked(coded.words.cuda(), rows, cols, coded.amax.cuda(), copy, copy);
            for (boolean byColumns : new boolean[] {false, true}) {
                CudaFp4GroupedOperand wanted = encoder.stacked(
                        CudaTensor.of(coded.weights.cuda()), byColumns, TILES, null, null, pair.cudaScope);
                CudaFp4GroupedOperand given = (CudaFp4GroupedOperand) (byColumns ? made.byColumns() : made.byRows());
                assertThat(given.width()).isEqualTo(wanted.width());
                assertThat(given.depth()).isEqualTo(wanted.depth());
                assertThat(pair.cuda.downloadInts(given.codes())).isEqualTo(pair.cuda.downloadInts(wanted.codes()));
                assertThat(pair.cuda.downloadInts(given.scales())).isEqualTo(pair.cuda.downloadInts(wanted.scales()));
                CudaPair.assertSameBits("scales", download(wanted.scale()), download(given.scale()));
            }
        }
    }

    @Test
    void largestMagnitudesOfOddRanges() {
        int count = (1 << 19) + 77;
        Twin values = pair.floats(DType.FP32, pair.awkwardValues(count), count);
        long[] bounds = {0, 1, 3, 5, 5, 5, 17, count, 1, count - 1};
        for (int[] places : new int[][] {{0, 1, 2, 3, 4}, {1, 5, 3, 1, 5}}) {
            Twin largest = pair.poison(DType.FP32, 6);
            pair.cpu.weightCodes().largest(values.cpu(), bounds, places, largest.cpu());
            pair.cuda.weightCodes().largest(values.cuda(), bounds, places, largest.cuda());
            pair.assertSameBits("largest", largest.cpu(), largest.cuda());
            bounds = bounds.clone(); // ranges are remembered by their array
        }
    }

    private static float[] download(@Nullable CudaTensor tensor) {
        return pair.cuda.download(Objects.requireNonNull(tensor));
    }
}
