package io.fourfold.kernels.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.QuantStats;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class BlockQuantizerTest {
    private static final int[][] SHAPES = {{1, 1}, {1, 16}, {16, 1}, {5, 37}, {33, 48}, {130, 260}, {0, 8}};

    /** Every format, both orientations, ragged shapes: the fused values equal the packed codes, decoded. */
    @TestFactory
    List<DynamicTest> fusedEqualsPacked() {
        List<DynamicTest> tests = new ArrayList<>();
        for (OperandSpec spec : specs()) {
            for (boolean byColumns : new boolean[] {false, true}) {
                tests.add(DynamicTest.dynamicTest(spec + (byColumns ? " by columns" : " by rows"), () -> {
                    for (int[] shape : SHAPES) {
                        for (String kind : List.of("normal", "zeros", "outlier", "ties", "wide", "denormal")) {
                            compare(spec, byColumns, input(kind, shape[0] * shape[1]), shape[0], shape[1]);
                        }
                    }
                }));
            }
        }
        return tests;
    }

    @Test
    void weightsDecodeToTheSameValuesInBothOrientations() {
        OperandSpec spec = OperandSpec.of(Format.NVFP4, Blocks.B16X16);
        float[] x = input("normal", 40 * 72);
        float[] byRows = PackingQuantizer.quantize(x, 40, 72, false, spec, null).values();
        float[] byColumns =
                PackingQuantizer.quantize(x, 40, 72, true, spec, null).values();
        for (int r = 0; r < 40; r++) {
            for (int c = 0; c < 72; c++) {
                assertThat(byColumns[c * 40 + r]).isEqualTo(byRows[r * 72 + c]);
            }
        }
    }

    /** Over all BF16 mantissas of the tensor's and the block's amax, across 8 binades. */
    @Test
    void theTwoScaleFormulasDifferRarelyAndByOneStep() {
        OperandSpec te = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
        int different = 0;
        for (int mantissa = 128; mantissa < 256; mantissa++) {
            BlockScaling teScaling = BlockScaling.of(te, mantissa);
            BlockScaling paperScaling = BlockScaling.of(te.withFormula(ScaleFormula.PAPER), mantissa);
            float scale = 2688f / mantissa;
            for (int bits = 0x3F80; bits < 0x4380; bits++) {
                float amax = BFloat16.fromBits(bits);
                int teByte = teScaling.scaleByte(amax);
                int paperByte = paperScaling.scaleByte(amax);
                assertThat(teByte).isEqualTo(Float8E4M3.encode(amax * (scale * (1f / 6f))));
                assertThat(paperByte).isEqualTo(Float8E4M3.encode(amax / 6f * scale));
                assertThat(Math.abs(teByte - paperByte)).isLessThanOrEqualTo(1);
                different += teByte == paperByte ? 0 : 1;
            }
        }
        assertThat(different).isBetween(1, 128 * 1024 / 200);
    }

    @Test
    void nonFiniteInputNeverDisappears() {
        for (OperandSpec spec : specs()) {
            for (float broken : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
                float[] x = input("normal", 32 * 32);
                x[77] = broken;
                float[] out = new float[32 * 32];
                float scale =
                        new BlockQuantizer().quantize(x, 0, 32, 32, false, spec, bits(spec, false, 32), out, 0, null);
                double sum = 0;
                for (float value : out) {
                    sum += value * scale;
                }
                assertThat(Double.isFinite(sum)).as("%s %s", spec, broken).isFalse();
            }
        }
    }

    @Test
    void telemetryCounts() {
        float[] x = new float[64];
        x[0] = 6 * 448; // tensor amax: S = 1, the first block's scale is 448
        x[1] = 1; // flushed to zero beside it
        Arrays.fill(x, 16, 32, 1e-4f); // a block whose scale byte underflows
        Arrays.fill(x, 32, 48, -6 * 1.06f); // block amax 6.36, scale rounds down to 1: clipped to 6
        QuantStatsAccumulator accumulator = new QuantStatsAccumulator();
        new BlockQuantizer()
                .quantize(
                        x,
                        0,
                        1,
                        64,
                        false,
                        OperandSpec.of(Format.NVFP4, Blocks.B1X16),
                        null,
                        new float[64],
                        0,
                        accumulator);
        QuantStats stats = accumulator.stats();
        assertThat(stats.elements()).isEqualTo(64);
        assertThat(stats.zeroCodes()).isEqualTo(17);
        assertThat(stats.saturated()).isEqualTo(16);
        assertThat(stats.blocks()).isEqualTo(4);
        assertThat(stats.scaleUnderflows()).isEqualTo(1);
        assertThat(stats.amax()).isEqualTo(2688f);
        assertThat(stats.noise()).isCloseTo(1 + 16 * 1e-8 + 16 * 0.36 * 0.36, within(1e-4));
    }

    @Test
    void qualityOfNormalDataIsWhatTheFormatsGive() {
        assertThat(sqnr(OperandSpec.of(Format.NVFP4, Blocks.B1X16))).isBetween(19.5, 22.0);
        assertThat(sqnr(OperandSpec.of(Format.MXFP4, Blocks.B1X32))).isBetween(15.0, 19.5);
        assertThat(sqnr(OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128))).isBetween(30.0, 34.0);
    }

    @Test
    void stochasticRoundingIsUnbiasedWithinOneByteStep() {
        OperandSpec spec = OperandSpec.of(Format.NVFP4, Blocks.B1X16).withRounding(Rounding.STOCHASTIC);
        float[] x = input("normal", 16 * 64);
        double[] mean = new double[x.length];
        int draws = 2000;
        float[] out = new float[x.length];
        BlockQuantizer quantizer = new BlockQuantizer();
        double bias = 0;
        for (int step = 0; step < draws; step++) {
            StochasticBits bits = new StochasticBits(3, step, 9, 0, null, 0, 16);
            float scale = quantizer.quantize(x, 0, 16, 64, false, spec, bits, out, 0, null);
            for (int i = 0; i < x.length; i++) {
                mean[i] += (double) out[i] * scale / draws;
            }
        }
        double size = 0;
        for (int i = 0; i < x.length; i++) {
            bias += (mean[i] - x[i]) * Math.signum(x[i]);
            size += Math.abs(x[i]);
        }
        assertThat(Math.abs(bias / size)).isLessThan(1 / 256.0);
    }

    @Test
    void refusesCombinationsWithoutMeaning() {
        OperandSpec fp8 = OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128).withRounding(Rounding.STOCHASTIC);
        assertThatThrownBy(() -> BlockQuantizer.check(fp8, bits(fp8, false, 1)))
                .hasMessageContaining("FP4 operands only");
        OperandSpec weights = OperandSpec.of(Format.NVFP4, Blocks.B16X16).withHadamard(true);
        assertThatThrownBy(() -> BlockQuantizer.check(weights, null)).hasMessageContaining("one-dimensional");
        OperandSpec gradients = OperandSpec.of(Format.NVFP4, Blocks.B1X16).withRounding(Rounding.STOCHASTIC);
        assertThatThrownBy(() -> BlockQuantizer.check(gradients, null)).hasMessageContaining("random stream");
    }

    private static double sqnr(OperandSpec spec) {
        QuantStatsAccumulator stats = new QuantStatsAccumulator();
        float[] x = input("normal", 128 * 256);
        new BlockQuantizer().quantize(x, 0, 128, 256, false, spec, null, new float[x.length], 0, stats);
        return stats.stats().sqnrDb();
    }

    private static void compare(OperandSpec spec, boolean byColumns, float[] x, int rows, int cols) {
        StochasticBits bits = bits(spec, byColumns, rows);
        PackedMatrix packed = PackingQuantizer.quantize(x, rows, cols, byColumns, spec, bits);
        int storedRows = BlockQuantizer.storedRows(spec, byColumns, rows);
        int storedCols = BlockQuantizer.storedCols(spec, byColumns, cols);
        float[] shifted = new float[x.length + 3];
        System.arraycopy(x, 0, shifted, 3, x.length);
        float[] out = new float[storedRows * storedCols + 5];
        QuantStatsAccumulator stats = new QuantStatsAccumulator();
        float scale = new BlockQuantizer().quantize(shifted, 3, rows, cols, byColumns, spec, bits, out, 5, stats);
        assertThat(Float.floatToIntBits(scale)).isEqualTo(Float.floatToIntBits(packed.tensorScale()));
        float[] expected = packed.values();
        for (int r = 0; r < storedRows; r++) {
            for (int c = 0; c < storedCols; c++) {
                float fused = out[5 + r * storedCols + c];
                float wanted = expected[byColumns ? c * storedRows + r : r * storedCols + c];
                if (Float.floatToIntBits(fused) != Float.floatToIntBits(wanted)) {
                    assertThat(fused).as("[%d, %d] of %dx%d", r, c, rows, cols).isEqualTo(wanted);
                }
            }
        }
        assertThat(stats.stats().elements()).isEqualTo((long) storedRows * storedCols);
        assertThat(stats.stats().amax()).isEqualTo(packed.amax());
    }

    private static List<OperandSpec> specs() {
        OperandSpec nvfp4 = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
        OperandSpec mxfp4 = OperandSpec.of(Format.MXFP4, Blocks.B1X32);
        return List.of(
                nvfp4,
                nvfp4.withFormula(ScaleFormula.PAPER),
                nvfp4.withHadamard(true),
                nvfp4.withRounding(Rounding.STOCHASTIC),
                nvfp4.withRounding(Rounding.STOCHASTIC).withHadamard(true),
                OperandSpec.of(Format.NVFP4, Blocks.B16X16),
                mxfp4,
                mxfp4.withRounding(Rounding.STOCHASTIC).withHadamard(true),
                OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR),
                OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128),
                OperandSpec.of(Format.FP8_E4M3, Blocks.B128X128),
                OperandSpec.of(Format.FP8_E5M2, Blocks.TENSOR),
                OperandSpec.of(Format.FP8_E5M2, Blocks.B1X128));
    }

    private static @Nullable StochasticBits bits(OperandSpec spec, boolean byColumns, int rows) {
        if (spec.rounding() != Rounding.STOCHASTIC) {
            return null;
        }
        int[] rowIds = new int[rows + 2];
        for (int i = 0; i < rowIds.length; i++) {
            rowIds[i] = i * 31 + 7;
        }
        return new StochasticBits(0x1234_5678_9ABC_DEF0L, 17, 5, byColumns ? 1 : 0, rowIds, 2, rows);
    }

    private static float[] input(String kind, int size) {
        Random random = new Random(42);
        float[] x = new float[size];
        for (int i = 0; i < size; i++) {
            float normal = (float) random.nextGaussian();
            x[i] = switch (kind) {
                case "zeros" -> i % 2 == 0 ? 0f : -0f;
                case "outlier" -> i == size / 2 ? 1e4f : BFloat16.round(normal);
                case "ties" -> (random.nextInt(49) - 24) * 0.25f;
                case "wide" -> Math.scalb(normal, random.nextInt(240) - 120);
                case "denormal" -> Math.scalb(normal, -135);
                default -> BFloat16.round(normal);
            };
        }
        return x;
    }
}
