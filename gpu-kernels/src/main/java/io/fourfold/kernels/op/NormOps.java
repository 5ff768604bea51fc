package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/** Root-mean-square normalization over the last dimension; statistics in FP32. */
public interface NormOps {
    /**
     * y = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps).
     *
     * @param x [T, H]
     * @param weight FP32 [H]
     * @param y [T, H]
     * @param rstd FP32 [T], kept for backward
     */
    void rmsNorm(Tensor x, Tensor weight, float eps, Tensor y, Tensor rstd);

    /**
     * Writes dx (or adds to it) and adds to dweight.
     *
     * @param accumulate true: dx += gradient (residual stream); false: dx = gradient
     */
    void rmsNormBackward(
            Tensor dy, Tensor x, Tensor weight, Tensor rstd, Tensor dx, boolean accumulate, Tensor dweight);

    /**
     * RMSNorm of every query and key head of packed rows (Qwen3), each over its own headDim values; the values part is
     * copied.
     *
     * @param qkv [T, (heads + 2 * kvHeads) * headDim]: queries, keys, values
     * @param queryWeight FP32 [headDim]
     * @param keyWeight FP32 [headDim]
     * @param y like qkv, may not alias it
     * @param rstd FP32 [T, heads + kvHeads], kept for backward
     */
    void headNorm(
            Tensor qkv, int heads, int kvHeads, Tensor queryWeight, Tensor keyWeight, float eps, Tensor y, Tensor rstd);

    /**
     * Writes dqkv, which may alias dy, and adds to dqueryWeight and dkeyWeight.
     *
     * @param qkv the input of {@link #headNorm}
     */
    void headNormBackward(
            Tensor dy,
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            Tensor rstd,
            Tensor dqkv,
            Tensor dqueryWeight,
            Tensor dkeyWeight);

    /** Where rows stand in their documents: positions INT32 [T], and the base of the rotation's frequencies. */
    record Rotation(Tensor positions, double theta) {}

    /**
     * {@link #headNorm}, then {@link ElementwiseOps#rope} of y, in one pass and with the same bits.
     *
     * @return false when the backend has no such pass for these rows: nothing was done
     */
    default boolean headNormRope(
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            float eps,
            Rotation rotation,
            Tensor y,
            Tensor rstd) {
        return false;
    }

    /**
     * The inverse rotation of dy, then {@link #headNormBackward}, in one pass; dqkv, which may alias dy, has the same bits, sums
     * of weight gradients may be added in another order.
     *
     * @return false when the backend has no such pass for these rows: nothing was done
     */
    default boolean headNormRopeBackward(
            Tensor dy,
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            Tensor rstd,
            Rotation rotation,
            Tensor dqkv,
            Tensor dqueryWeight,
            Tensor dkeyWeight) {
        return false;
    }
}
