package io.fourfold.kernels.numeric;

/**
 * BF16: the upper 16 bits of an FP32 number (8 exponent bits, 7 mantissa bits). Conversion from FP32 rounds to nearest
 * even; values beyond the largest finite number become infinite, NaN stays NaN (quiet, sign and upper payload kept).
 */
public final class BFloat16 {
    private static final int INFINITY_BITS = 0x7F80_0000;
    private static final int QUIET_BIT = 0x0040_0000;
    /** Below this length the scalar loop is faster. */
    private static final int SHORT = 32;

    private static final ThreadLocal<Scratch> SCRATCH = ThreadLocal.withInitial(Scratch::new);

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
        if (length < SHORT) {
            for (int i = 0; i < length; i++) {
                destination[destinationOffset + i] = round(source[sourceOffset + i]);
            }
            return;
        }
        Scratch scratch = SCRATCH.get();
        for (int done = 0; done < length; done += FloatBits.LANES) {
            int count = Math.min(FloatBits.LANES, length - done);
            scratch.move.toBits(source, sourceOffset + done, scratch.bits, count);
            roundBits(scratch.bits, count);
            scratch.move.toFloats(scratch.bits, destination, destinationOffset + done, count);
        }
    }

    private static void roundBits(int[] bits, int count) {
        for (int i = 0; i < count; i++) {
            bits[i] = roundBits(bits[i]);
        }
    }

    /**
     * Adding just under half a unit, plus one when the kept part is odd, carries exactly when RNE rounds up. Without
     * branches, so that a loop over it vectorizes.
     */
    private static int roundBits(int bits) {
        int notANumber = (INFINITY_BITS - (bits & 0x7FFF_FFFF)) >> 31; // all ones or zero
        int rounded = bits + 0x7FFF + ((bits >>> 16) & 1);
        return ((rounded & ~notANumber) | ((bits | QUIET_BIT) & notANumber)) & 0xFFFF_0000;
    }

    private static final class Scratch {
        private final FloatBits move = new FloatBits();
        private final int[] bits = new int[FloatBits.LANES];
    }
}
