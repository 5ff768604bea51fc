package io.fourfold.kernels.numeric;

/**
 * Random numbers as a pure function of (seed, stream, element index): the same on every machine, whatever part of a tensor
 * is filled and in which order. Element i uses word i % 4 of Philox4x32-10 with key = seed and counter = (low and high half
 * of i / 4, low and high half of stream).
 */
public final class CounterRandom {
    private CounterRandom() {}

    /** A stream number from a name (FNV-1a, 64 bits, over the name's UTF-16 units). */
    public static long stream(String name) {
        long hash = 0xCBF29CE484222325L;
        for (int i = 0; i < name.length(); i++) {
            hash = (hash ^ name.charAt(i)) * 0x100000001B3L;
        }
        return hash;
    }

    /** Fills {@code length} uniform numbers in [0, 1), multiples of 2^-24, for elements {@code first, first + 1, ...}. */
    public static void fillUniform(long seed, long stream, long first, float[] out, int offset, int length) {
        int[] words = new int[4];
        long loaded = -1;
        for (int i = 0; i < length; i++) {
            long element = first + i;
            if (element >>> 2 != loaded) {
                loaded = element >>> 2;
                block(seed, stream, loaded, words);
            }
            out[offset + i] = (words[(int) (element & 3)] >>> 8) * 0x1p-24f;
        }
    }

    private static void block(long seed, long stream, long block, int[] words) {
        Philox4x32.generate(
                (int) block,
                (int) (block >>> 32),
                (int) stream,
                (int) (stream >>> 32),
                (int) seed,
                (int) (seed >>> 32),
                words,
                0);
    }
}
