package io.fourfold.kernels.cpu;

/**
 * Merges attention over disjoint sets of keys, one row at a time, in FP32. With (o1, l1) and (o2, l2) output and
 * log-sum-exp over either set:
 *
 * <pre>
 * l = max(l1, l2) + log(exp(l1 - max) + exp(l2 - max));  o = exp(l1 - l) o1 + exp(l2 - l) o2
 * </pre>
 *
 * (Blockwise softmax of Ring Attention, arXiv:2310.01889; FlashAttention-2, arXiv:2307.08691 section 3.1.1.) The
 * log-sum-exp of an empty set is negative infinity: it changes nothing.
 */
final class LogSumExpMerge {
    private LogSumExpMerge() {}

    /** Log-sum-exp over both sets; NaN when either is. */
    static float logSumExp(float first, float second) {
        if (second == Float.NEGATIVE_INFINITY) {
            return first;
        }
        float max = Math.max(first, second);
        return max + (float) Math.log(Math.exp(first - max) + Math.exp(second - max));
    }

    /**
     * Merges the output over the second set into that over the first.
     *
     * @param out updated from {@code at} on
     * @param lse of the first set
     * @param other output over the second set, as many values
     * @param otherLse of the second set
     * @param merged of both, from {@link #logSumExp}
     */
    static void merge(float[] out, int at, float lse, float[] other, float otherLse, float merged) {
        if (otherLse == Float.NEGATIVE_INFINITY) {
            return;
        }
        float weight = (float) Math.exp(lse - merged);
        float otherWeight = (float) Math.exp(otherLse - merged);
        for (int i = 0; i < other.length; i++) {
            out[at + i] = weight * out[at + i] + otherWeight * other[i];
        }
    }
}
