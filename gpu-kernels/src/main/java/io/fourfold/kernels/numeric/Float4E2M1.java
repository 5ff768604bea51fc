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
    /** Keeps sign, exponent and the highest mantissa bit. */
    private static final int ONE_MANTISSA_BIT = 0xFFC0_0000;

    private static final int QUARTER_BITS = 0x3E80_0000; // 0.25f
    private static final int THREE_QUARTERS_BITS = 0x3F40_0000; // 0.75f
    private static final int ONE_BITS = 0x3F80_0000; // 1f
    private static final int HALF_BITS = 0x3F00_0000; // 0.5f
    private static final int MAX_BITS = 0x40C0_0000; // 6f

    private static final int[] HALF_FROM = halfFromTable();

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

    /** The nearest E2M1 value, ties to the even code. */
    public static float nearest(float value) {
        return Float.intBitsToFloat(nearest(Float.floatToRawIntBits(value)));
    }

    /**
     * Rounds down or up at random: with u = {@code randomByte} / 256 and step = 0.5, 1, 2 for |x| below 2, below 4 and
     * beyond, t = |x| + u * step in FP32 (the product is exact, so with or without fma), then t is cut down to an E2M1
     * value, at most 6.
     *
     * @param randomByte 0..255
     */
    public static float stochastic(float value, int randomByte) {
        return Float.intBitsToFloat(stochastic(Float.floatToRawIntBits(value), randomByte, HALF_FROM[randomByte]));
    }

    /** {@link #nearest(float)} on the bits of FP32 numbers, in place. */
    public static void nearest(int[] bits, int count) {
        for (int i = 0; i < count; i++) {
            bits[i] = nearest(bits[i]);
        }
    }

    /**
     * {@link #stochastic(float, int)} on the bits of FP32 numbers, in place.
     *
     * @param randomBytes one byte, 0..255, per number
     * @param halfFrom {@link #halfFrom} of each byte
     */
    public static void stochastic(int[] bits, int[] randomBytes, int[] halfFrom, int count) {
        for (int i = 0; i < count; i++) {
            bits[i] = stochastic(bits[i], randomBytes[i], halfFrom[i]);
        }
    }

    /** The bits of the smallest |x| that {@code randomByte} rounds up to 0.5 instead of down to 0. */
    public static int halfFrom(int randomByte) {
        return HALF_FROM[randomByte];
    }

    /**
     * From 1 on, E2M1 is rounding to one mantissa bit; from 0.75 to 1 the nearest value is 1, and below that 0.5 above 0.25.
     * Written with masks (all ones or zero) instead of branches, so that loops vectorize;
     * differences of magnitudes do not overflow.
     */
    private static int nearest(int bits) {
        int magnitude = clamp(bits & MAGNITUDE);
        int rounded = (magnitude + 0x1F_FFFF + ((magnitude >>> 22) & 1)) & ONE_MANTISSA_BIT;
        int fromOne = (ONE_BITS - 1 - magnitude) >> 31;
        int toOne = (THREE_QUARTERS_BITS - 1 - magnitude) >> 31;
        int toHalf = (QUARTER_BITS - magnitude) >> 31;
        int small = (ONE_BITS & toOne) | (HALF_BITS & toHalf & ~toOne);
        return (rounded & fromOne) | (small & ~fromOne) | (bits & SIGN);
    }

    /**
     * In integer arithmetic on the bits. From 1 on, one step is half a binade, 2^22 units of the last place, so u * step is
     * the byte times 2^14; a carry into the exponent lands on the power of two, as it should. In [0.5, 1) the step is a whole
     * binade: the sum reaches 1 when adding the byte times 2^15 carries. Below, a table says which numbers reach 0.5.
     */
    private static int stochastic(int bits, int randomByte, int halfFrom) {
        int magnitude = clamp(bits & MAGNITUDE);
        int raised = (magnitude + (randomByte << 14)) & ONE_MANTISSA_BIT;
        int large = (ONE_BITS - 1 - magnitude) >> 31;
        int toOne = (ONE_BITS - 1 - magnitude - (randomByte << 15)) >> 31;
        int toHalf = (halfFrom - 1 - magnitude) >> 31;
        int small = (ONE_BITS & toOne) | (HALF_BITS & toHalf & ~toOne);
        return (raised & large) | (small & ~large) | (bits & SIGN);
    }

    private static int clamp(int magnitude) {
        int excess = magnitude - MAX_BITS;
        return MAX_BITS + (excess & (excess >> 31));
    }

    /**
     * |x| + byte / 512 reaches 0.5 from T = (256 - byte) / 512 on. Where T is at most 0.25, one number below T does as well:
     * T - 2^-26 gives the midpoint of 0.5 and its predecessor, which rounds to even.
     */
    private static int[] halfFromTable() {
        int[] table = new int[256];
        for (int randomByte = 0; randomByte < 256; randomByte++) {
            float exact = (256 - randomByte) / 512f;
            table[randomByte] = Float.floatToRawIntBits(exact <= 0.25f ? exact - 0x1p-26f : exact);
        }
        return table;
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
