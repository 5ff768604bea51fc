package io.fourfold.plan;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.config.TrainConfig;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;

/**
 * Bytes that the fullest rank needs with the CPU backend, which stores FP32 and BF16 alike in four bytes. Weights,
 * gradients and optimizer states are exact up to padding; activations and workspace are estimates.
 *
 * @param weights FP32 master weights
 * @param gradients FP32 main gradients
 * @param optimizer two FP32 moments, split over DP x CP (dense) and EDP (experts)
 * @param activations what the layers keep for the backward pass of one micro-batch, and the logits
 * @param workspace GEMM operands made of the weights once a step
 */
public record MemoryEstimate(long weights, long gradients, long optimizer, long activations, long workspace) {
    private static final int FLOAT = 4;

    public long total() {
        return weights + gradients + optimizer + activations + workspace;
    }

    static MemoryEstimate of(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        long parameters = share.dense() + share.expert();
        long dense = ceilDiv(share.dense(), mapping.size(Axis.DP_CP));
        long expert = ceilDiv(share.expert(), mapping.expertData());
        return new MemoryEstimate(
                FLOAT * parameters,
                FLOAT * parameters,
                2L * FLOAT * (dense + expert),
                activations(config, mapping, share),
                workspace(config.recipe().kind(), share.linear()));
    }

    /** The micro-batches in flight keep their layers; a pipeline holds one per stage still to come. */
    private static long activations(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        ModelConfig model = config.model();
        TrainConfig train = config.train();
        long tokens = (long) train.microBatchSize() * train.sequenceLength() / mapping.context() / mapping.tensor();
        AttentionConfig attention = model.attention();
        int tp = mapping.tensor();
        // Input and output of both norms (4 H); queries, keys, values and attention output; copies before QK norm.
        long heads = 2L * attention.queryWidth() + 2L * attention.kvWidth();
        long normed = attention.qkNorm() ? attention.queryWidth() + attention.kvWidth() : 0;
        long everyLayer = 4L * model.hiddenSize() + heads + normed;
        long elements = share.layers() * everyLayer;
        MoeConfig moe = model.moe();
        if (moe != null) {
            // Sorted inputs, fused gate and up, activation; router scores and logits.
            long slot = model.hiddenSize() + (long) (moe.activation().inputFactor() + 1) * moe.intermediateSize();
            long shared = moe.sharedExpert() == null
                    ? 0
                    : (long) (moe.activation().inputFactor() + 1)
                            * moe.sharedExpert().intermediateSize();
            elements += share.moeLayers() * (moe.topK() * slot + shared + 2L * moe.experts());
        }
        FfnConfig ffn = model.ffn();
        if (ffn != null) {
            long inner = (long) (ffn.activation().inputFactor() + 1) * ffn.intermediateSize();
            elements += (share.layers() - share.moeLayers()) * inner;
        }
        long logits = share.lastStage() ? 2L * model.vocabSize() : 0;
        return FLOAT * tokens * (elements * mapping.pipeline() + logits);
    }

    /** FP32 weights are used as they are; BF16 needs one rounded copy; quantized weights one copy a direction. */
    private static long workspace(RecipeConfig.Kind recipe, long linear) {
        return switch (recipe) {
            case FP32 -> 0;
            case BF16 -> FLOAT * linear;
            case FP8, NVFP4, MXFP4 -> 2L * FLOAT * linear;
        };
    }

    private static long ceilDiv(long value, long by) {
        return (value + by - 1) / by;
    }
}
