package io.fourfold.model;

/** Formats of the forward GEMMs in evaluation. */
public enum EvaluationPrecision {
    /** What the recipe's fprop uses at the current step. */
    RECIPE,
    /** All linear layers in the activation type: what an exported model computes. */
    UNQUANTIZED
}
