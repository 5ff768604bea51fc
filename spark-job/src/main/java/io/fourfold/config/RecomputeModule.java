package io.fourfold.config;

/** What can be computed again in the backward pass instead of being kept from the forward pass. */
public enum RecomputeModule {
    /** Outputs of the norms before attention and feed-forward. */
    NORM,
    /** Outputs of the activation functions. */
    ACTIVATION,
    /** The token rows that are gathered, or sent, to the experts. */
    DISPATCH,
    /** Norm and attention. */
    ATTENTION,
    /** Norm and feed-forward network, with its experts. */
    EXPERT,
    /** The whole block. */
    BLOCK
}
