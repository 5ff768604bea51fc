package io.fourfold.data.order;

/**
 * A pseudo-random permutation of {@code [0, size)} that is computed, not stored: a Feistel network over the next power of
 * four or two times four, walked until it lands inside (cycle walking; Black and Rogaway, CT-RSA 2002). Less than two
 * walks on average. The round keys are Philox words of (seed, stream, epoch).
 */
public final class Permutation {
    private static final int ROUNDS = 8;

    private final long size;
    private final int highBits;
    private final int lowBits;
    private final long[] roundKeys = new long[ROUNDS];

    /**
     * Defines a permutation; equal arguments give equal permutations on every machine.
     *
     * @param size number of elements, at least 1
     * @param stream tells apart permutations of one seed, for example by data set
     */
    public Permutation(long size, long seed, int stream, long epoch) {
        if (size < 1) {
            throw new IllegalArgumentException("A permutation needs at least 1 element, not " + size);
        }
        this.size = size;
        int bits = Math.max(2, Long.SIZE - Long.numberOfLeadingZeros(size - 1));
        this.lowBits = bits / 2;
        this.highBits = bits - lowBits;
        for (int round = 0; round < ROUNDS; round++) {
            int[] words = Philox.block(round, stream, (int) epoch, (int) (epoch >>> 32), seed);
            roundKeys[round] = Integer.toUnsignedLong(words[0]) | (long) words[1] << 32;
        }
    }

    /** The element at {@code index}. */
    public long apply(long index) {
        if (index < 0 || index >= size) {
            throw new IndexOutOfBoundsException("Index " + index + " of a permutation of " + size);
        }
        long value = index;
        do {
            value = encrypt(value);
        } while (value >= size);
        return value;
    }

    /** Alternating unbalanced Feistel network: even rounds change the high part, odd ones the low part. */
    private long encrypt(long value) {
        long high = value >>> lowBits;
        long low = value & mask(lowBits);
        for (int round = 0; round < ROUNDS; round += 2) {
            high ^= mix(low ^ roundKeys[round]) & mask(highBits);
            low ^= mix(high ^ roundKeys[round + 1]) & mask(lowBits);
        }
        return high << lowBits | low;
    }

    private static long mask(int bits) {
        return (1L << bits) - 1;
    }

    /** Finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): every input bit reaches every output bit. */
    private static long mix(long value) {
        long mixed = (value ^ value >>> 30) * 0xBF58476D1CE4E5B9L;
        mixed = (mixed ^ mixed >>> 27) * 0x94D049BB133111EBL;
        return mixed ^ mixed >>> 31;
    }
}
