package io.fourfold.kernels.numeric;

/**
 * FP8 E5M2: sign, 5 exponent bits with bias 15, 2 mantissa bits; largest finite 57344, smallest positive 2^-16, 0x7C is
 * infinite, 0x7D..0x7F are NaN. Conversion rounds to nearest even and saturates: larger magnitudes and infinities become
 * 57344; NaN becomes 0x7F.
 */
public final class Float8E5M2 {
    public static final float MAX = 57344f;

    private static final int MAX_BITS = 0x4760_0000; // 57344f
    private static final int MIN_NORMAL_BITS = 0x3880_0000; // 2^-14
    /** One unit in the last place of this number is the smallest subnormal, 2^-16: adding it rounds to a multiple. */
    private static final float SUBNORMAL_ROUNDER = 0x1p7f;

    private static final float[] VALUES = new float[256];

    static {
        for (int code = 0; code < 256; code++) {
            VALUES[code] = value(code);
        }
    }

    private Float8E5M2() {}

    /** The code (0..255) of the nearest value. */
    public static int encode(float value) {
        int bits = Float.floatToRawIntBits(value);
        int sign = (bits >>> 24) & 0x80;
        int magnitude = bits & 0x7FFF_FFFF;
        if (magnitude >= MAX_BITS) {
            return sign | (magnitude > 0x7F80_0000 ? 0x7F : 0x7B);
        }
        if (magnitude < MIN_NORMAL_BITS) {
            float shifted = Float.intBitsToFloat(magnitude) + SUBNORMAL_ROUNDER;
            return sign | (Float.floatToRawIntBits(shifted) - Float.floatToRawIntBits(SUBNORMAL_ROUNDER));
        }
        int rounded = magnitude + 0xF_FFFF + ((magnitude >>> 21) & 1);
        return sign | ((rounded >>> 21) - ((127 - 15) << 2));
    }

    /** The value of a code; bits above the low 8 are ignored. */
    public static float decode(int code) {
        return VALUES[code & 0xFF];
    }

    /** The nearest E5M2 value. */
    public static float round(float value) {
        return VALUES[encode(value)];
    }

    private static float value(int code) {
        int exponent = (code >>> 2) & 0x1F;
        int mantissa = code & 3;
        float magnitude;
        if (exponent == 31) {
            magnitude = mantissa == 0 ? Float.POSITIVE_INFINITY : Float.NaN;
        } else {
            magnitude = exponent == 0 ? mantissa * 0x1p-16f : Math.scalb((4 + mantissa) * 0.25f, exponent - 15);
        }
        return (code & 0x80) == 0 ? magnitude : -magnitude;
    }
}
