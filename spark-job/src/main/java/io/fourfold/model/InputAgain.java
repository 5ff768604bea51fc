package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/** Computes a layer's input a second time, with the same bits, for a backward that did not keep it. */
@FunctionalInterface
interface InputAgain {
    /**
     * @param scope where the result may live
     */
    Tensor compute(TensorScope scope);
}
