package io.fourfold.kernels.numeric;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.junit.jupiter.api.Test;

class StochasticE2M1Test {
    private static final float[] LEVELS = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

    @Test
    void followsTheFormulaForEveryBf16AndByte() {
        for (int bits = 0; bits < 0x4100; bits++) { // up to 8, then saturated
            float x = BFloat16.fromBits(bits);
            for (int random = 0; random < 256; random++) {
                float expected = byFormula(x, random);
                if (Float4E2M1.stochastic(x, random) != expected || Float4E2M1.stochastic(-x, random) != -expected) {
                    assertThat(Float4E2M1.stochastic(x, random))
                            .as("%s byte %s", x, random)
                            .isEqualTo(expected);
                    assertThat(Float4E2M1.stochastic(-x, random)).isEqualTo(-expected);
                }
            }
        }
    }

    @Test
    void followsTheFormulaAroundEveryThreshold() {
        Random random = new Random(8);
        for (int randomByte = 0; randomByte < 256; randomByte++) {
            for (float level : LEVELS) {
                float step = level <= 2 ? 0.5f : level <= 4 ? 1 : 2;
                float threshold = level - randomByte / 256f * step;
                for (int ulps = -4; ulps <= 4; ulps++) {
                    checkAgainstFormula(Float.intBitsToFloat(Float.floatToRawIntBits(threshold) + ulps), randomByte);
                }
            }
            int halfFrom = Float4E2M1.halfFrom(randomByte);
            for (int ulps = -4; ulps <= 4; ulps++) {
                checkAgainstFormula(Float.intBitsToFloat(halfFrom + ulps), randomByte);
            }
            for (int i = 0; i < 4000; i++) {
                checkAgainstFormula(random.nextFloat() * 7, randomByte);
            }
        }
    }

    @Test
    void representableValuesStay() {
        for (float level : LEVELS) {
            for (int random = 0; random < 256; random++) {
                assertThat(Float4E2M1.stochastic(level, random)).isEqualTo(level);
                assertThat(Float4E2M1.stochastic(-level, random)).isEqualTo(-level);
            }
        }
    }

    @Test
    void meanOverAllBytesIsWithinOneByteStep() {
        for (float x = -6; x <= 6; x += 0.013f) {
            double sum = 0;
            for (int random = 0; random < 256; random++) {
                sum += Float4E2M1.stochastic(x, random);
            }
            float step = Math.abs(x) < 2 ? 0.5f : Math.abs(x) < 4 ? 1 : 2;
            assertThat(sum / 256).isCloseTo(x, within(step / 256.0));
        }
    }

    @Test
    void clampsAndKeepsSigns() {
        assertThat(Float4E2M1.stochastic(1e30f, 255)).isEqualTo(6f);
        assertThat(Float4E2M1.stochastic(Float.NEGATIVE_INFINITY, 0)).isEqualTo(-6f);
        assertThat(Float.floatToRawIntBits(Float4E2M1.stochastic(-0.01f, 0))).isEqualTo(0x8000_0000);
    }

    private static void checkAgainstFormula(float magnitude, int randomByte) {
        if (magnitude >= 0 && Float4E2M1.stochastic(magnitude, randomByte) != byFormula(magnitude, randomByte)) {
            assertThat(Float4E2M1.stochastic(magnitude, randomByte))
                    .as("%s byte %s", magnitude, randomByte)
                    .isEqualTo(byFormula(magnitude, randomByte));
        }
    }

    private static float byFormula(float magnitude, int random) {
        float u = random / 256f;
        float t = Math.fma(u, step(magnitude), magnitude);
        float floored = (float) Math.floor(t / step(t)) * step(t);
        return Math.min(floored, 6f);
    }

    private static float step(float magnitude) {
        return magnitude < 2 ? 0.5f : magnitude < 4 ? 1f : 2f;
    }
}
