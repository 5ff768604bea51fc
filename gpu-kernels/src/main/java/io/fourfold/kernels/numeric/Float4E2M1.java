package io.fourfold.kernels.numeric;

/**
 * FP4 E2M1: sign, 2 exponent bits with bias 1, 1 mantissa bit. The code is sign * 8 + index into {0, 0.5, 1, 1.5, 2, 3, 4,
 * 6}. No infinities, no NaN: conversions clamp to 6, and NaN becomes 6 with its sign (callers find NaN in the amax).
 * The sign of zero is kept.
 */
public final class Float4E2M1 {
    public static final float MAX = 6f;

    private static final int SIGN = 0x8000_0000;
    private static final int MAGNITUDE = 0x7FFF_FFFF;
    private static final int EXPONENT = 0x7F80_0000;
    private static final int ONE_BITS = 0x3F80_0000; // 1f
    private static final int HALF_BITS = 0x3F00_0000; // 0.5f
    private static final int MAX_BITS = 0x40C0_0000; // 6f

    private static final float[] VALUES = {
        0f, 0.5f, 1f, 1.5f, 2f, 3f, 4f, 6f, -0f, -0.5f, -1f, -1.5f, -2f, -3f, -4f, -6f
    };

    private Float4E2M1() {}

    /** The code (0..15) of the nearest value, ties to the even code. */
    public static int encode(float value) {
        return code(Float.floatToRawIntBits(nearest(value)));
    }

    /** The value of a code; bits above the low 4 are ignored. */
    public static float decode(int code) {
        return VALUES[code & 0xF];
    }

    /**
     * The nearest E2M1 value, ties to the even code. Adding a number whose unit in the last place equals the step of the
     * value's binade (0.5 below 2, then 1, then 2) rounds to a multiple of that step.
     */
    public static float nearest(float value) {
        int bits = Float.floatToRawIntBits(value);
        int magnitude = Math.min(bits & MAGNITUDE, MAX_BITS);
        float rounder = Float.intBitsToFloat(Math.max(magnitude & EXPONENT, ONE_BITS) + (22 << 23));
        float rounded = (Float.intBitsToFloat(magnitude) + rounder) - rounder;
        return Float.intBitsToFloat(Float.floatToRawIntBits(rounded) | (bits & SIGN));
    }

    /**
     * Rounds down or up at random: with u = {@code randomByte} / 256 and step = 0.5, 1, 2 for |x| below 2, below 4 and
     * beyond, t = |x| + u * step (the product is exact, so this is one rounding, as with fma), then t is cut down to an
     * E2M1 value, at most 6.
     *
     * @param randomByte 0..255
     */
    public static float stochastic(float value, int randomByte) {
        int bits = Float.floatToRawIntBits(value);
        int magnitude = Math.min(bits & MAGNITUDE, MAX_BITS);
        // 2^(exponent - 1 - 8): the step in units of 1/256.
        float unit = Float.intBitsToFloat(Math.max(magnitude & EXPONENT, ONE_BITS) - (9 << 23));
        float raised = Float.intBitsToFloat(magnitude) + randomByte * unit;
        int raisedBits = Math.min(Float.floatToRawIntBits(raised), MAX_BITS);
        // From 1 on, cutting to one mantissa bit; below 1 the values are 0 and 0.5.
        int cut = raisedBits >= ONE_BITS ? raisedBits & 0xFFC0_0000 : raisedBits >= HALF_BITS ? HALF_BITS : 0;
        return Float.intBitsToFloat(cut | (bits & SIGN));
    }

    /** The code of an FP32 bit pattern that is an E2M1 value. */
    static int code(int bits) {
        int magnitude = bits & MAGNITUDE;
        int index = magnitude >= ONE_BITS ? (magnitude >>> 22) - (126 << 1) : magnitude >= HALF_BITS ? 1 : 0;
        return (bits >>> 28) & 8 | index;
    }

    /** The code of a float that is an E2M1 value. */
    public static int exactCode(float value) {
        return code(Float.floatToRawIntBits(value));
    }
}
