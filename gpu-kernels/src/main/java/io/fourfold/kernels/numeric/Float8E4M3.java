package io.fourfold.kernels.numeric;

/**
 * FP8 E4M3 (OCP, without infinities): sign, 4 exponent bits with bias 7, 3 mantissa bits; largest 448, smallest positive
 * 2^-9, NaN is 0x7F. Conversion rounds to nearest even and saturates: larger magnitudes and infinities become 448.
 */
public final class Float8E4M3 {
    public static final float MAX = 448f;

    private static final int MAX_BITS = 0x43E0_0000; // 448f
    private static final int MIN_NORMAL_BITS = 0x3C80_0000; // 2^-6
    /** One unit in the last place of this number is the smallest subnormal, 2^-9: adding it rounds to a multiple. */
    private static final float SUBNORMAL_ROUNDER = 0x1p14f;

    private static final float[] VALUES = new float[256];

    static {
        for (int code = 0; code < 256; code++) {
            VALUES[code] = value(code);
        }
    }

    private Float8E4M3() {}

    /** The code (0..255) of the nearest value. */
    public static int encode(float value) {
        int bits = Float.floatToRawIntBits(value);
        int sign = (bits >>> 24) & 0x80;
        int magnitude = bits & 0x7FFF_FFFF;
        if (magnitude >= MAX_BITS) {
            return sign | (magnitude > 0x7F80_0000 ? 0x7F : 0x7E);
        }
        if (magnitude < MIN_NORMAL_BITS) {
            float shifted = Float.intBitsToFloat(magnitude) + SUBNORMAL_ROUNDER;
            return sign | (Float.floatToRawIntBits(shifted) - Float.floatToRawIntBits(SUBNORMAL_ROUNDER));
        }
        int rounded = magnitude + 0x7_FFFF + ((magnitude >>> 20) & 1);
        return sign | ((rounded >>> 20) - ((127 - 7) << 3));
    }

    /** The value of a code; bits above the low 8 are ignored. */
    public static float decode(int code) {
        return VALUES[code & 0xFF];
    }

    /** The nearest E4M3 value. */
    public static float round(float value) {
        return VALUES[encode(value)];
    }

    private static float value(int code) {
        int exponent = (code >>> 3) & 0xF;
        int mantissa = code & 7;
        if (exponent == 15 && mantissa == 7) {
            return Float.NaN;
        }
        float magnitude = exponent == 0 ? mantissa * 0x1p-9f : Math.scalb((8 + mantissa) * 0.125f, exponent - 7);
        return (code & 0x80) == 0 ? magnitude : -magnitude;
    }
}
