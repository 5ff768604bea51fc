package io.fourfold.kernels.comm;

import io.fourfold.kernels.numeric.BFloat16;

/**
 * Reduces corresponding elements of several ranks' arrays. FP32 and BF16 sums are taken in the order of the sources, in
 * FP32; a BF16 sum is rounded once, at the end. Since each element is on its own, the bits do not depend on how a
 * transport cuts its buffers: every CPU transport reduces through this class and so gives the same result.
 */
public final class RankReduction {
    /** Elements worked on at a time, so that the running sums stay in the first-level cache. */
    private static final int BLOCK = 1024;

    private RankReduction() {}

    /**
     * out[i] = reduction over r of sources[r][offsets[r] + i], for i below length. The output may be one of the sources
     * at the same position.
     *
     * @param bf16 round to BF16, to nearest even
     */
    public static void reduce(
            ReduceOp op, boolean bf16, float[][] sources, int[] offsets, int length, float[] out, int outOffset) {
        float[] block = new float[Math.min(BLOCK, length)];
        for (int start = 0; start < length; start += BLOCK) {
            int n = Math.min(BLOCK, length - start);
            System.arraycopy(sources[0], offsets[0] + start, block, 0, n);
            for (int r = 1; r < sources.length; r++) {
                switch (op) {
                    case SUM -> add(block, sources[r], offsets[r] + start, n);
                    case MAX -> max(block, sources[r], offsets[r] + start, n);
                }
            }
            if (bf16) {
                BFloat16.round(block, 0, block, 0, n);
            }
            System.arraycopy(block, 0, out, outOffset + start, n);
        }
    }

    /** The same for integers; a sum that overflows wraps around. */
    public static void reduce(ReduceOp op, int[][] sources, int[] offsets, int length, int[] out, int outOffset) {
        int[] block = new int[Math.min(BLOCK, length)];
        for (int start = 0; start < length; start += BLOCK) {
            int n = Math.min(BLOCK, length - start);
            System.arraycopy(sources[0], offsets[0] + start, block, 0, n);
            for (int r = 1; r < sources.length; r++) {
                int[] source = sources[r];
                int from = offsets[r] + start;
                for (int i = 0; i < n; i++) {
                    block[i] = op == ReduceOp.SUM ? block[i] + source[from + i] : Math.max(block[i], source[from + i]);
                }
            }
            System.arraycopy(block, 0, out, outOffset + start, n);
        }
    }

    private static void add(float[] sums, float[] source, int from, int n) {
        for (int i = 0; i < n; i++) {
            sums[i] += source[from + i];
        }
    }

    private static void max(float[] largest, float[] source, int from, int n) {
        for (int i = 0; i < n; i++) {
            largest[i] = Math.max(largest[i], source[from + i]);
        }
    }
}
