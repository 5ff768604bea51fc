package io.fourfold.config;

/** How gradients travel to the ranks that sum them. */
public enum GradientFormat {
    /** As they are. */
    FP32,
    /** Rounded to BF16, summed in FP32, rounded once more. */
    BF16
}
