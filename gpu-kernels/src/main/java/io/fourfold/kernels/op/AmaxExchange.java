package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Makes the largest magnitude of one rank's part of a split tensor that of the whole tensor, so that all parts get the
 * tensor scale they would have in one piece. Collective over the ranks that hold the parts.
 */
@FunctionalInterface
public interface AmaxExchange {
    /**
     * Replaces each value by the largest over the parts, in place.
     *
     * @param amax FP32 [groups], not negative
     */
    void largest(Tensor amax);
}
