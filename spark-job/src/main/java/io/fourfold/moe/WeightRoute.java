package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/** The way back of the routing weights' gradients. */
interface WeightRoute {
    /**
     * Starts it beside the work that is queued next.
     *
     * @param drows FP32 [rows of the experts, 1]
     * @param dweights FP32 [T, k], written when the returned is run
     */
    Runnable startBack(Tensor drows, Tensor dweights, TensorScope work);
}
