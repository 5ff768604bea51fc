package io.fourfold.config;

/** A shared expert beside the routed ones. */
public record SharedExpertConfig(
        @Setting(doc = "Inner width.", min = 1) int intermediateSize,

        @Setting(doc = "Multiply its output by sigmoid(x . w) (Qwen2-MoE).", value = "false")
        boolean gated) {}
