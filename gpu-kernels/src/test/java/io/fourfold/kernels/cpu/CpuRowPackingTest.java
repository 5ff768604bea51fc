package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class CpuRowPackingTest {
    private static final int ROWS = 9;

    /** The largest error of a value in a block, as a share of the block's largest magnitude. */
    @ParameterizedTest
    @CsvSource({
        // half of the coarsest step of E4M3, 32 of 448, with up to a factor 2 lost to the power-of-two scale
        "FP8, 256, 0.0715",
        "FP8, 200, 0.0715",
        // half of the coarsest step of E2M1, 1 of 6, and half of E4M3's of the scale, 1/16 relative
        "NVFP4, 256, 0.23",
        "NVFP4, 24, 0.23",
    })
    void valuesComeBackCloseAndExactInBf16(RowFormat format, int cols, double bound) {
        float[] x = random(cols, 3);
        float[] y = roundTrip(x, cols, format, DType.FP32);
        assertThat(roundTrip(x, cols, format, DType.BF16)).isEqualTo(y);
        for (int r = 0; r < ROWS; r++) {
            for (int c = 0; c < cols; c += format.block()) {
                int from = r * cols + c;
                int to = from + Math.min(format.block(), cols - c);
                float amax = 0;
                for (int i = from; i < to; i++) {
                    amax = Math.max(amax, Math.abs(x[i]));
                }
                for (int i = from; i < to; i++) {
                    assertThat((double) Math.abs(y[i] - x[i])).isLessThanOrEqualTo(bound * amax);
                    assertThat(BFloat16.round(y[i])).isEqualTo(y[i]);
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(RowFormat.class)
    void aRowsCodesDependOnItAlone(RowFormat format) {
        int cols = 160;
        float[] x = random(cols, 4);
        float[] alone = roundTrip(Arrays.copyOfRange(x, 2 * cols, 3 * cols), cols, format, DType.FP32);
        float[] among = roundTrip(x, cols, format, DType.FP32);
        assertThat(Arrays.copyOfRange(among, 2 * cols, 3 * cols)).isEqualTo(alone);
    }

    @ParameterizedTest
    @EnumSource(RowFormat.class)
    void packingTwiceChangesNothing(RowFormat format) {
        float[] once = roundTrip(random(96, 5), 96, format, DType.FP32);
        assertThat(roundTrip(once, 96, format, DType.FP32)).isEqualTo(once);
    }

    @ParameterizedTest
    @EnumSource(RowFormat.class)
    void extremesSurvive(RowFormat format) {
        float[] x = new float[32];
        assertThat(roundTrip(x, 32, format, DType.FP32)).isEqualTo(x);
        x[3] = 1e-30f;
        x[20] = 0x1.8p100f;
        assertThat(roundTrip(x, 32, format, DType.FP32)[20]).isEqualTo(0x1.8p100f);
        x[20] = Float.POSITIVE_INFINITY;
        assertThat(roundTrip(x, 32, format, DType.FP32)[20]).isNaN();
        x[20] = Float.NaN;
        assertThat(roundTrip(x, 32, format, DType.FP32)[20]).isNaN();
    }

    private static float[] random(int cols, long seed) {
        Random random = new Random(seed);
        float[] x = new float[ROWS * cols];
        for (int i = 0; i < x.length; i++) {
            float row = (float) Math.pow(10, i / cols - 4);
            x[i] = BFloat16.round((float) random.nextGaussian() * row);
        }
        return x;
    }

    private static float[] roundTrip(float[] x, int cols, RowFormat format, DType type) {
        int rows = x.length / cols;
        try (CpuBackend backend = new CpuBackend(1);
                TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor in = scope.allocate(DType.FP32, rows, cols);
            backend.upload(x, in);
            Tensor packed = scope.allocate(DType.INT32, rows, format.words(cols));
            backend.moe().packRows(in, format, packed);
            Tensor out = scope.allocate(type, rows, cols);
            backend.moe().unpackRows(packed, format, out);
            return backend.download(out);
        }
    }
}
