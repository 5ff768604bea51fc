package io.fourfold.kernels.cpu;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Recycles the arrays of closed scopes, so that a training step allocates next to nothing and the collector stays quiet.
 * Lengths are rounded up to one of eight classes per power of two, because the token counts of experts differ from step
 * to step. What is pooled and what is live together never exceed the largest amount that was ever live. Single-threaded.
 */
final class ArrayPool {
    private static final int SMALLEST_CLASS = 64;

    private final Map<Integer, ArrayDeque<float[]>> floats = new HashMap<>();
    private final Map<Integer, ArrayDeque<int[]>> ints = new HashMap<>();
    private final boolean poison;
    private long liveElements;
    private long pooledElements;
    private long peakElements;

    /** @param poison overwrite arrays on release and on reuse, so that stale and uninitialized reads show */
    ArrayPool(boolean poison) {
        this.poison = poison;
    }

    /** The array length used for {@code n} elements: at most one eighth more. */
    static int sizeClass(int n) {
        if (n <= SMALLEST_CLASS) {
            return SMALLEST_CLASS;
        }
        int granule = Integer.highestOneBit(n - 1) >>> 3;
        long rounded = ((long) n + granule - 1) / granule * granule;
        return (int) Math.min(rounded, Integer.MAX_VALUE - 8L);
    }

    float[] takeFloats(int n) {
        int length = sizeClass(n);
        float[] array = poll(floats, length);
        if (array == null) {
            array = new float[length];
        }
        countTaken(length);
        if (poison) {
            Arrays.fill(array, Float.NaN);
        }
        return array;
    }

    int[] takeInts(int n) {
        int length = sizeClass(n);
        int[] array = poll(ints, length);
        if (array == null) {
            array = new int[length];
        }
        countTaken(length);
        if (poison) {
            Arrays.fill(array, Integer.MIN_VALUE);
        }
        return array;
    }

    void release(float[] array) {
        if (poison) {
            Arrays.fill(array, Float.NaN);
        }
        giveBack(floats, array, array.length);
    }

    void release(int[] array) {
        if (poison) {
            Arrays.fill(array, Integer.MIN_VALUE);
        }
        giveBack(ints, array, array.length);
    }

    /** Elements kept for reuse. */
    long pooledElements() {
        return pooledElements;
    }

    void clear() {
        floats.clear();
        ints.clear();
        pooledElements = 0;
    }

    private <A> @Nullable A poll(Map<Integer, ArrayDeque<A>> pool, int length) {
        ArrayDeque<A> free = pool.get(length);
        A array = free == null ? null : free.pollLast();
        if (array != null) {
            pooledElements -= length;
        }
        return array;
    }

    private <A> void giveBack(Map<Integer, ArrayDeque<A>> pool, A array, int length) {
        liveElements -= length;
        if (liveElements + pooledElements + length <= peakElements) {
            pool.computeIfAbsent(length, key -> new ArrayDeque<>()).addLast(array);
            pooledElements += length;
        }
    }

    private void countTaken(int length) {
        liveElements += length;
        peakElements = Math.max(peakElements, liveElements);
    }
}
