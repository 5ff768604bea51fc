package io.fourfold.kernels.numeric;

/**
 * An FP32 number as a BF16 number, its head, and a 16-bit remainder; together they are the number, bit for bit:
 *
 * <pre>
 * head = (bits + 0x8000) &gt;&gt; 16,  remainder = the lower 16 bits, as a signed integer
 * bits = (head &lt;&lt; 16) + remainder
 * </pre>
 *
 * The head is the number rounded to the nearest BF16 number, ties away from zero. Ties to even would leave 2^16 + 1 numbers
 * to some heads, one more than remainders there are. Both rules differ only where the lower half is exactly 0x8000, and
 * both make the same numbers infinite. Infinities have themselves as head. Every NaN is stored as the one quiet NaN
 * 0x7FC00000, because the addition would carry out of the exponent of others.
 */
public final class SplitFloat {
    private static final int INFINITY_BITS = 0x7F80_0000;
    private static final int NAN_BITS = 0x7FC0_0000;
    private static final int HALF = 0x8000;

    private static final ThreadLocal<Scratch> SCRATCH = ThreadLocal.withInitial(Scratch::new);

    private SplitFloat() {}

    /** The BF16 number nearest to {@code value}, ties away from zero, as a float. */
    public static float head(float value) {
        return Float.intBitsToFloat(headBits(canonical(Float.floatToRawIntBits(value))));
    }

    /** What the head leaves, from -32768 to 32767. */
    public static int remainder(float value) {
        return (short) canonical(Float.floatToRawIntBits(value));
    }

    /** The number of a head and its remainder. */
    public static float join(float head, int remainder) {
        return Float.intBitsToFloat(Float.floatToRawIntBits(head) + remainder);
    }

    /** {@link #head} and {@link #remainder} of {@code length} elements. */
    public static void split(
            float[] values, int from, float[] heads, int headsFrom, int[] remainders, int remaindersFrom, int length) {
        Scratch scratch = SCRATCH.get();
        for (int done = 0; done < length; done += FloatBits.LANES) {
            int count = Math.min(FloatBits.LANES, length - done);
            int[] bits = scratch.bits;
            scratch.move.toBits(values, from + done, bits, count);
            for (int i = 0; i < count; i++) {
                bits[i] = canonical(bits[i]);
            }
            int to = remaindersFrom + done;
            for (int i = 0; i < count; i++) {
                remainders[to + i] = bits[i] << 16 >> 16;
            }
            for (int i = 0; i < count; i++) {
                bits[i] = headBits(bits[i]);
            }
            scratch.move.toFloats(bits, heads, headsFrom + done, count);
        }
    }

    /** {@link #join} of {@code length} elements. */
    public static void join(
            float[] heads, int headsFrom, int[] remainders, int remaindersFrom, float[] values, int to, int length) {
        Scratch scratch = SCRATCH.get();
        for (int done = 0; done < length; done += FloatBits.LANES) {
            int count = Math.min(FloatBits.LANES, length - done);
            int[] bits = scratch.bits;
            scratch.move.toBits(heads, headsFrom + done, bits, count);
            int at = remaindersFrom + done;
            for (int i = 0; i < count; i++) {
                bits[i] += remainders[at + i];
            }
            scratch.move.toFloats(bits, values, to + done, count);
        }
    }

    /** Without branches, so that a loop over it vectorizes. */
    private static int canonical(int bits) {
        int notANumber = (INFINITY_BITS - (bits & 0x7FFF_FFFF)) >> 31; // all ones or zero
        return (bits & ~notANumber) | (NAN_BITS & notANumber);
    }

    private static int headBits(int bits) {
        return (bits + HALF) & 0xFFFF_0000;
    }

    private static final class Scratch {
        private final FloatBits move = new FloatBits();
        private final int[] bits = new int[FloatBits.LANES];
    }
}
