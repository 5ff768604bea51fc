package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.config.RunConfig;
import io.fourfold.config.TrainConfig;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.PipelineSchedule;

/**
 * Bytes that the fullest rank needs. With the CPU backend, which stores numbers of all types in four bytes, weights,
 * gradients and optimizer states are exact up to padding, activations and workspace are estimates. With {@code run.backend:
 * cuda} see {@link GpuMemory}.
 *
 * @param weights FP32 master weights; in recipe bf16 those of linear layers as BF16 weights and, split like the moments,
 *     their remainders; with {@code parallel.gradients.weights: nvfp4} also the codes that are gathered
 * @param gradients FP32 main gradients
 * @param optimizer two FP32 moments, split over DP x CP (dense) and EDP (experts)
 * @param activations what the layers keep for the backward pass of the micro-batches in flight
 * @param workspace GEMM operands made of the weights once a step, the gradients inside one layer, a piece of the logits
 * @param lent bytes of the gradients that hold further activations and workspace until backward writes them
 * @param onGpu true with {@code run.backend: cuda}
 */
public record MemoryEstimate(
        long weights, long gradients, long optimizer, long activations, long workspace, long lent, boolean onGpu) {
    private static final int FLOAT = 4;

    /** Head and loss are one operation that goes over the tokens in pieces of at least so many rows or logits. */
    private static final int PIECE_ROWS = 64;

    private static final long PIECE_LOGITS = 1L << 21;

    public long total() {
        return weights + gradients + optimizer + activations + workspace;
    }

    static MemoryEstimate of(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        if (config.run().backend() == RunConfig.BackendKind.CUDA) {
            return GpuMemory.of(config, mapping, share);
        }
        long parameters = share.parameters();
        long dense = ceilDiv(share.dense(), mapping.size(Axis.DP_CP));
        long replicated = ceilDiv(share.replicated(), mapping.size(Axis.STAGE));
        long expert = ceilDiv(share.expert(), mapping.expertData());
        long tokens = localTokens(config.train(), mapping);
        long perToken = KeptActivations.perToken(config, share);
        int chunks = config.parallel().virtualStages();
        long kept = tokens * perToken * inFlight(config, mapping, share) / chunks;
        long oneLayer = tokens * KeptActivations.perTokenWhenAllIsKept(config, share) / Math.max(1, share.layers());
        long vocabulary = config.model().vocabSize();
        long piece = Math.min(tokens * vocabulary, Math.max(PIECE_ROWS * vocabulary, PIECE_LOGITS));
        long logits = share.lastStage() ? piece : 0;
        long remainders = config.recipe().kind().splitsMasters() ? dense + expert : 0;
        return new MemoryEstimate(
                FLOAT * (parameters + remainders) + WeightTraffic.held(config, share.pipelineRank()),
                FLOAT * parameters,
                2L * FLOAT * (dense + replicated + expert),
                FLOAT * kept,
                FLOAT * (operands(config.recipe().kind(), share.linear()) + oneLayer + logits),
                0,
                false);
    }

    /** The micro-batches of one chunk whose forward is done and whose backward is not, added up over the rank's chunks. */
    static long inFlight(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        return PipelineSchedule.inFlight(
                mapping.pipeline(),
                config.parallel().virtualStages(),
                microBatches(config.train(), mapping),
                share.pipelineRank());
    }

    private static int microBatches(TrainConfig train, ParallelMapping mapping) {
        return Math.max(1, train.globalBatchSize() / mapping.data() / train.microBatchSize());
    }

    private static long localTokens(TrainConfig train, ParallelMapping mapping) {
        return (long) train.microBatchSize() * train.sequenceLength() / mapping.context() / mapping.tensor();
    }

    /** FP32 weights and the BF16 part of split ones are used as they are; quantized weights need a copy a direction. */
    private static long operands(RecipeConfig.Kind recipe, long linear) {
        return switch (recipe) {
            case FP32, BF16 -> 0;
            case FP8, NVFP4, MXFP4 -> 2L * linear;
        };
    }

    private static long ceilDiv(long value, long by) {
        return (value + by - 1) / by;
    }
}
