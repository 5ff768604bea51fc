package io.fourfold.config;

/** How gradients travel to the ranks that sum them. */
public enum GradientFormat {
    /** As they are. */
    FP32,
    /** Rounded to BF16, summed in FP32, rounded once more. */
    BF16,
    /** Packed as E4M3 with a scale for each 128 values, summed in FP32. */
    FP8
}
