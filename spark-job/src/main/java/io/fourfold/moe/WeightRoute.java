package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/** The way back of the routing weights' gradients. */
interface WeightRoute {
    /**
     * @param drows FP32 [rows of the experts, 1]
     * @param dweights FP32 [T, k], written
     */
    void back(Tensor drows, Tensor dweights, TensorScope work);
}
