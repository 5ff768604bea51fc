package io.fourfold.kernels.numeric;

/**
 * BF16: the upper 16 bits of an FP32 number (8 exponent bits, 7 mantissa bits). Conversion from FP32 rounds to nearest
 * even; values beyond the largest finite number become infinite, NaN stays NaN (quiet, sign and upper payload kept).
 */
public final class BFloat16 {
    private static final int INFINITY_BITS = 0x7F80_0000;
    private static final int QUIET_BIT = 0x0040_0000;

    private BFloat16() {}

    /** The nearest BF16 value, as a float. */
    public static float round(float value) {
        return Float.intBitsToFloat(roundBits(Float.floatToRawIntBits(value)));
    }

    /** The 16 bits of the nearest BF16 value, in the low half of the result. */
    public static int toBits(float value) {
        return roundBits(Float.floatToRawIntBits(value)) >>> 16;
    }

    /** The value of 16 BF16 bits; the upper half of the argument is ignored. */
    public static float fromBits(int bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    /** Rounds {@code length} elements from {@code source} into {@code destination}, which may be the same array. */
    public static void round(float[] source, int sourceOffset, float[] destination, int destinationOffset, int length) {
        for (int i = 0; i < length; i++) {
            destination[destinationOffset + i] = round(source[sourceOffset + i]);
        }
    }

    private static int roundBits(int bits) {
        if ((bits & 0x7FFF_FFFF) > INFINITY_BITS) {
            return (bits | QUIET_BIT) & 0xFFFF_0000;
        }
        // Adding just under half a unit, plus one when the kept part is odd, carries exactly when RNE rounds up.
        return (bits + 0x7FFF + ((bits >>> 16) & 1)) & 0xFFFF_0000;
    }
}
