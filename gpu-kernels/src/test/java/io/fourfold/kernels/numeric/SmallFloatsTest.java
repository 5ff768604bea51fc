package io.fourfold.kernels.numeric;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import java.util.function.IntToDoubleFunction;
import org.junit.jupiter.api.Test;

/** Every conversion against a search for the nearest value that knows nothing of bit tricks. */
class SmallFloatsTest {

    @Test
    void everyBf16ToE2M1() {
        Nearest nearest = new Nearest(8, code -> new double[] {0, 0.5, 1, 1.5, 2, 3, 4, 6}[code]);
        forEveryBf16(x -> {
            if (Float.isNaN(x)) {
                assertThat(Float4E2M1.encode(x) & 7).isEqualTo(7);
            } else {
                int sign = Float.floatToRawIntBits(x) < 0 ? 8 : 0;
                assertCode(x, Float4E2M1.encode(x), sign | nearest.code(Math.abs(x)));
            }
        });
    }

    @Test
    void everyBf16ToE4M3() {
        Nearest nearest = new Nearest(127, code -> ieeeLike(code, 3, 7));
        forEveryBf16(x -> {
            int sign = Float.floatToRawIntBits(x) < 0 ? 0x80 : 0;
            int expected = Float.isNaN(x) ? 0x7F : nearest.code(Math.abs(x));
            assertCode(x, Float8E4M3.encode(x), sign | expected);
        });
    }

    @Test
    void everyBf16ToE5M2() {
        Nearest nearest = new Nearest(124, code -> ieeeLike(code, 2, 15));
        forEveryBf16(x -> {
            int sign = Float.floatToRawIntBits(x) < 0 ? 0x80 : 0;
            int expected = Float.isNaN(x) ? 0x7F : nearest.code(Math.abs(x));
            assertCode(x, Float8E5M2.encode(x), sign | expected);
        });
    }

    @Test
    void fp32NeighboursOfEveryTie() {
        Nearest e2m1 = new Nearest(8, Float4E2M1::decode);
        Nearest e4m3 = new Nearest(127, Float8E4M3::decode);
        Nearest e5m2 = new Nearest(124, Float8E5M2::decode);
        checkTies(e2m1, Float4E2M1::encode);
        checkTies(e4m3, Float8E4M3::encode);
        checkTies(e5m2, Float8E5M2::encode);
    }

    @Test
    void codesSurviveDecodingAndEncoding() {
        for (int code = 0; code < 256; code++) {
            if (!Float.isNaN(Float8E4M3.decode(code))) {
                assertThat(Float8E4M3.encode(Float8E4M3.decode(code))).isEqualTo(code);
            }
            if (Float.isFinite(Float8E5M2.decode(code))) {
                assertThat(Float8E5M2.encode(Float8E5M2.decode(code))).isEqualTo(code);
            }
        }
        for (int code = 0; code < 16; code++) {
            assertThat(Float4E2M1.encode(Float4E2M1.decode(code))).isEqualTo(code);
            assertThat(Float4E2M1.exactCode(Float4E2M1.decode(code))).isEqualTo(code);
        }
    }

    @Test
    void bf16RoundingAgainstTheTwoNeighbours() {
        Random random = new Random(5);
        for (int i = 0; i < 200_000; i++) {
            int bits = random.nextInt();
            if (i % 4 == 0) {
                bits = bits & 0xFFFF_0000 | 0x8000 + (i % 3 - 1); // a tie or right beside one
            }
            float x = Float.intBitsToFloat(bits);
            if (!Float.isFinite(x)) {
                continue;
            }
            // In the exponent range that FP64 holds exactly, the value one past the largest finite one counts as
            // infinite.
            double low = truncated(bits);
            double high = truncated((bits & 0xFFFF_0000) + 0x1_0000);
            double toLow = Math.abs(x - low);
            double toHigh = Math.abs(high - x);
            boolean up = toHigh < toLow || (toHigh == toLow && ((bits >>> 16) & 1) == 1);
            float expected = (float) (up ? high : low);
            if (Math.abs(up ? high : low) >= 0x1p128) {
                expected = Math.copySign(Float.POSITIVE_INFINITY, x);
            }
            assertThat(Float.floatToRawIntBits(BFloat16.round(x))).isEqualTo(Float.floatToRawIntBits(expected));
        }
        assertThat(BFloat16.round(Float.POSITIVE_INFINITY)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(BFloat16.round(Float.intBitsToFloat(0x7FFF_FFFF))).isNaN();
        assertThat(BFloat16.round(Float.intBitsToFloat(0xFF80_0001))).isNaN();
    }

    @Test
    void everyE2M1TimesE4M3IsABf16Value() {
        for (int code = 0; code < 16; code++) {
            for (int scale = 0; scale < 127; scale++) {
                double exact = (double) Float4E2M1.decode(code) * Float8E4M3.decode(scale);
                float product = Float4E2M1.decode(code) * Float8E4M3.decode(scale);
                assertThat((double) product).isEqualTo(exact);
                assertThat(BFloat16.round(product)).isEqualTo(product);
            }
        }
    }

    @Test
    void everyE2M1TimesE8M0IsABf16Value() {
        for (int code = 0; code < 16; code++) {
            for (int scale = 0; scale < 255; scale++) {
                double exact = Float4E2M1.decode(code) * Math.pow(2, scale - 127);
                float product = Float4E2M1.decode(code) * ScaleE8M0.decode(scale);
                if (Math.abs(exact)
                        < 0x1p128) { // 2 * 2^127 and more overflow; a scale chosen for FP32 data stays below
                    assertThat((double) product).isEqualTo(exact);
                    assertThat(BFloat16.round(product)).isEqualTo(product);
                }
            }
        }
    }

    @Test
    void e8m0ScaleIsTheSmallestThatDoesNotClip() {
        Random random = new Random(3);
        for (int i = 0; i < 100_000; i++) {
            float amax = Float.intBitsToFloat(random.nextInt() & 0x7FFF_FFFF);
            if (i < 256) {
                amax = Math.scalb(i % 2 == 0 ? 1.5f : Math.nextUp(1.5f), i / 2 - 64);
            }
            if (!Float.isFinite(amax)) {
                continue;
            }
            int code = ScaleE8M0.forE2M1(amax);
            assertThat(amax).isLessThanOrEqualTo((float) Math.min(Float.MAX_VALUE, 6 * Math.pow(2, code - 127)));
            if (code > 0) {
                assertThat((double) amax).isGreaterThan(6 * Math.pow(2, code - 128));
            }
        }
        assertThat(ScaleE8M0.forE2M1(0f)).isZero();
        assertThat(ScaleE8M0.forE2M1(Float.NaN)).isEqualTo(255);
        assertThat(ScaleE8M0.decode(0)).isEqualTo(0x1p-127f);
        assertThat(ScaleE8M0.decode(254)).isEqualTo(0x1p127f);
        assertThat(ScaleE8M0.decode(255)).isNaN();
    }

    private interface Encoder {
        int encode(float value);
    }

    private interface Check {
        void of(float value);
    }

    /** Magnitudes in ascending order of their codes; the nearest one is searched for, ties go to the even code. */
    private static final class Nearest {
        private final double[] values;

        Nearest(int count, IntToDoubleFunction value) {
            values = new double[count];
            for (int code = 0; code < count; code++) {
                values[code] = value.applyAsDouble(code);
            }
        }

        int code(double magnitude) {
            if (magnitude >= values[values.length - 1]) {
                return values.length - 1;
            }
            int best = 0;
            for (int code = 1; code < values.length; code++) {
                double distance = Math.abs(magnitude - values[code]);
                double bestDistance = Math.abs(magnitude - values[best]);
                if (distance < bestDistance || (distance == bestDistance && code % 2 == 0)) {
                    best = code;
                }
            }
            return best;
        }
    }

    private static void checkTies(Nearest nearest, Encoder encoder) {
        for (int code = 0; code + 1 < nearest.values.length; code++) {
            float tie = (float) ((nearest.values[code] + nearest.values[code + 1]) / 2);
            for (float x : new float[] {Math.nextDown(tie), tie, Math.nextUp(tie)}) {
                assertCode(x, encoder.encode(x), nearest.code(x));
            }
        }
    }

    private static double ieeeLike(int code, int mantissaBits, int bias) {
        int exponent = code >>> mantissaBits;
        double fraction = (code & ((1 << mantissaBits) - 1)) / (double) (1 << mantissaBits);
        return exponent == 0 ? fraction * Math.pow(2, 1 - bias) : (1 + fraction) * Math.pow(2, exponent - bias);
    }

    private static double truncated(int bits) {
        int exponent = (bits >>> 23) & 0xFF;
        double fraction = ((bits >>> 16) & 0x7F) / 128.0;
        double magnitude = exponent == 0 ? fraction * Math.pow(2, -126) : (1 + fraction) * Math.pow(2, exponent - 127);
        return bits < 0 ? -magnitude : magnitude;
    }

    private static void forEveryBf16(Check check) {
        for (int bits = 0; bits < 1 << 16; bits++) {
            check.of(BFloat16.fromBits(bits));
        }
    }

    private static void assertCode(float value, int actual, int expected) {
        if (actual != expected) {
            assertThat(actual).as("code of %s", value).isEqualTo(expected);
        }
    }
}
