package io.fourfold.config;

import io.fourfold.kernels.op.Activation;

/** A dense feed-forward block. */
public record FfnConfig(
        @Setting(doc = "Inner width.", min = 1) int intermediateSize,
        @Setting(doc = "swiglu or relu2.", value = "swiglu") Activation activation) {}
