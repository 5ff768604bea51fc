package io.fourfold.kernels.tensor;

/** The named parts of device memory, the same in {@code fourfold plan} and in an out-of-memory error. */
public enum Region {
    PARAMETERS,
    GRADIENTS,
    OPTIMIZER,
    ACTIVATIONS,
    WORKSPACE
}
