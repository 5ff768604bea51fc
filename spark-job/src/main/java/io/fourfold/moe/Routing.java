package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;

/**
 * The router's decisions for T tokens, kept for backward.
 *
 * @param logits FP32 [T, E]
 * @param scores FP32 [T, E]
 * @param experts INT32 [T, k] before dropping
 * @param weights FP32 [T, k]
 * @param kept INT32 [T, k]: experts, -1 where dropped
 * @param keptCounts INT32 [E]: slots per expert after dropping
 * @param rowsPerExpert rows every expert is padded to, 0 when not padded
 */
public record Routing(
        Tensor logits,
        Tensor scores,
        Tensor experts,
        Tensor weights,
        Tensor kept,
        Tensor keptCounts,
        int rowsPerExpert) {}
