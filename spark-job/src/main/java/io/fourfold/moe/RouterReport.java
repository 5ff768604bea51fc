package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Device memory that one MoE layer fills during one training micro-batch, FP32. The load-balancing loss is taken over
 * groups of tokens: the sequences of the micro-batch, or all of its tokens as one group.
 *
 * @param counts [groups, E], slots per expert before dropping
 * @param scoreSums [groups, E], sums of the (normalized) scores, zero at first
 * @param zSum [1], sum over tokens of logsumexp(logits)^2, zero at first
 * @param keptRows [1], slots that were not dropped
 * @param stepCounts [E], running sum of the counts over the step's micro-batches
 */
public record RouterReport(Tensor counts, Tensor scoreSums, Tensor zSum, Tensor keptRows, Tensor stepCounts) {}
