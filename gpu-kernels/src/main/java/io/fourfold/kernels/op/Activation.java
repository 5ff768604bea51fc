package io.fourfold.kernels.op;

/** Nonlinearity of a feed-forward block. */
public enum Activation {
    /** silu(gate) * up: the input row is [gate | up], twice as wide as the output. */
    SWIGLU(2),
    /** max(x, 0)^2: input and output are equally wide (the 1.2B and 12B models of arXiv:2509.25149). */
    RELU2(1);

    private final int inputFactor;

    Activation(int inputFactor) {
        this.inputFactor = inputFactor;
    }

    /** Input columns per output column. */
    public int inputFactor() {
        return inputFactor;
    }
}
