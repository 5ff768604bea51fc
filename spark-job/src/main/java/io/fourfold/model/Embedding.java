package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Token embedding, the start of the residual stream.
 *
 * @param weight [V, H]
 */
record Embedding(Parameter weight) {
    /** Writes x [T, H], the rows of the batch's tokens. */
    void forward(Pass pass, Tensor x) {
        pass.backend().elementwise().embedding(pass.batch().tokens(), weight.weight(), x);
        pass.inspect("forward", -1, "embedding output", x);
    }

    /** Adds to the weight gradient. */
    void backward(Pass pass, Tensor dx) {
        pass.backend().elementwise().embeddingBackward(pass.batch().tokens(), dx, weight.grad());
    }
}
