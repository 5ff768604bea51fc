package io.fourfold.kernels.numeric;

/**
 * A sum of non-negative FP64 numbers that does not depend on the order of the addends: each is cut below 2^-192, and what is
 * left is added as an integer, without rounding. Infinite when an addend, or the sum, is not below 2^127; no number when an
 * addend is none.
 *
 * <p>The sum is words[0] 2^-192 + words[1] 2^-160 + ... + words[9] 2^96. An addend changes a word by less than 2^32, so
 * 2^31 of them may be added before the words are {@link #normalize normalized}. The lower half of words[10] counts addends
 * that are too large, the upper one those that are no numbers.
 */
public final class ExactSum {
    /** INT64 words. */
    public static final int WORDS = 11;

    /** On a device, INT32: the lower half of each word, then the upper one. */
    public static final int INTS = 2 * WORDS;

    private static final int LIMBS = WORDS - 1;
    private static final int LOWEST_EXPONENT = -192;
    private static final double LIMIT = 0x1p127;
    private static final long LOWER = 0xFFFF_FFFFL;
    private static final long TOO_LARGE = 1;
    private static final long NO_NUMBER = 1L << Integer.SIZE;
    private static final int MANTISSA_BITS = 52;
    private static final int EXPONENT_OF_ONE = 1023;

    private final long[] words = new long[WORDS];

    /** Adds a number, zero or more. */
    public void add(double value) {
        if (!(value < LIMIT)) {
            words[LIMBS] += Double.isNaN(value) ? NO_NUMBER : TOO_LARGE;
            return;
        }
        long bits = Double.doubleToRawLongBits(value);
        int exponent = (int) (bits >>> MANTISSA_BITS);
        long mantissa = bits & ((1L << MANTISSA_BITS) - 1) | 1L << MANTISSA_BITS;
        int place = exponent - EXPONENT_OF_ONE - MANTISSA_BITS - LOWEST_EXPONENT;
        if (place <= -Long.SIZE || exponent == 0) {
            return;
        }
        if (place < 0) {
            mantissa >>>= -place;
            place = 0;
        }
        int word = place / Integer.SIZE;
        int shift = place % Integer.SIZE;
        long low = mantissa << shift;
        words[word] += low & LOWER;
        words[word + 1] += low >>> Integer.SIZE;
        words[word + 2] += shift == 0 ? 0 : mantissa >>> (Long.SIZE - shift);
    }

    /** Adds another sum. */
    public void add(ExactSum other) {
        for (int i = 0; i < WORDS; i++) {
            words[i] += other.words[i];
        }
        normalize();
    }

    /** A sum from the host's copy of a device's, which begins at {@code at}. */
    public static ExactSum of(int[] halves, int at) {
        ExactSum sum = new ExactSum();
        for (int i = 0; i < WORDS; i++) {
            sum.words[i] = halves[at + 2 * i] & LOWER | (long) halves[at + 2 * i + 1] << Integer.SIZE;
        }
        sum.normalize();
        return sum;
    }

    /** A sum from {@link #words}, or from sums of those of up to 2^20 others. */
    public static ExactSum of(double[] words) {
        ExactSum sum = new ExactSum();
        for (int i = 0; i < WORDS; i++) {
            sum.words[i] = (long) words[i];
        }
        sum.normalize();
        return sum;
    }

    /** As whole numbers below 2^33, which may be added without rounding. */
    public double[] words() {
        normalize();
        double[] values = new double[WORDS];
        for (int i = 0; i < WORDS; i++) {
            values[i] = words[i];
        }
        return values;
    }

    /** The words as a device holds them. */
    public int[] halves() {
        int[] halves = new int[INTS];
        for (int i = 0; i < WORDS; i++) {
            halves[2 * i] = (int) words[i];
            halves[2 * i + 1] = (int) (words[i] >>> Integer.SIZE);
        }
        return halves;
    }

    /** Brings all words but the last below 2^32: there is one such way to write a sum. */
    private void normalize() {
        for (int i = 0; i + 1 < LIMBS; i++) {
            words[i + 1] += words[i] >>> Integer.SIZE;
            words[i] &= LOWER;
        }
        if (words[LIMBS - 1] >>> (Integer.SIZE - 1) != 0) {
            words[LIMBS - 1] &= LOWER >>> 1;
            words[LIMBS] += TOO_LARGE;
        }
        // That there are some is all that counts.
        words[LIMBS] =
                ((words[LIMBS] & LOWER) == 0 ? 0 : TOO_LARGE) + (words[LIMBS] >>> Integer.SIZE == 0 ? 0 : NO_NUMBER);
    }

    public boolean isFinite() {
        normalize();
        return words[LIMBS] == 0;
    }

    /** The sum within a few units of the last place; the same for the same sum. */
    public double value() {
        if (!isFinite()) {
            return words[LIMBS] >= NO_NUMBER ? Double.NaN : Double.POSITIVE_INFINITY;
        }
        double value = 0;
        for (int i = 0; i < LIMBS; i++) {
            value += Math.scalb((double) words[i], LOWEST_EXPONENT + Integer.SIZE * i);
        }
        return value;
    }
}
