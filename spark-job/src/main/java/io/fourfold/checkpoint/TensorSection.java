package io.fourfold.checkpoint;

import io.fourfold.kernels.tensor.Tensor;

/**
 * A flat FP32 tensor of this rank that a checkpoint stores or restores.
 *
 * @param layout which global elements lie where in it
 */
public record TensorSection(Quantity quantity, ShardLayout layout, Tensor values) {}
