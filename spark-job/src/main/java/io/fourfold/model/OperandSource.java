package io.fourfold.model;

import io.fourfold.kernels.tensor.TensorScope;

/**
 * Where backward takes the wgrad operand of a layer's input from: kept by forward, or made again.
 *
 * @param <O> kind of operand
 */
@FunctionalInterface
interface OperandSource<O> {
    /**
     * @param work where an operand that was not kept may live
     */
    O operand(TensorScope work);
}
