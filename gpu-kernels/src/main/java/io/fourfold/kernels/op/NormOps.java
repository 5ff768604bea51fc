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
}
