package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.precision.Recipe;

/**
 * Bytes that a rank needs on a GPU, by region of its arena: BF16 takes two bytes, NVFP4 operands are values in BF16 (the
 * emulation on GPUs without FP4 units). Activations and workspace of a micro-batch are replayed, see {@link GpuStep}; in a
 * pipeline each stage also keeps what the forwards of the other micro-batches in flight left. {@code fourfold bench} shows
 * planned and used bytes side by side.
 */
final class GpuMemory {
    private static final long WORD = 4;
    private static final long HALF = 2;
    /** The matrix library's own memory, and small tables. */
    private static final long LIBRARY = 33L << 20;
    /** Logits that the loss holds at a time, see the CUDA backend's loss: in FP32, and as BF16 exponentials. */
    private static final long CHUNK_LOGITS = 1L << 29;

    private static final long CHUNK_EXPONENTIALS = 5L << 28;
    private static final long CHUNK_UNIT = 128;
    /** Tokens, labels, positions, document starts and row ids, and the index of the rows. */
    private static final long BATCH_VECTORS = 6;

    private final FourfoldConfig config;
    private final ModelConfig model;
    private final RankShare share;
    private final Recipe recipe;
    /** Bytes of an activation. */
    private final long wide;

    private final long tokens;

    private GpuMemory(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        this.config = config;
        this.model = config.model();
        this.share = share;
        this.recipe = Recipe.of(config.recipe(), model.layers());
        this.wide = recipe.activationType().bytes();
        this.tokens = (long) config.train().microBatchSize()
                * config.train().sequenceLength()
                / mapping.context()
                / mapping.tensor();
    }

    static MemoryEstimate of(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        GpuMemory memory = new GpuMemory(config, mapping, share);
        long matrices = share.dense() / mapping.size(Axis.DP_CP) + share.expert() / mapping.expertData();
        long shard = matrices + share.replicated() / mapping.size(Axis.STAGE);
        boolean sharded = mapping.size(Axis.STAGE) > 1;
        GpuStep microBatch = new GpuStep(config, mapping, share, memory.recipe, memory.tokens);
        ReplayedMemory step = microBatch.run(memory.loss());
        // The replay has all chunks of one micro-batch; those of others wait for their backward meanwhile.
        int chunks = config.parallel().virtualStages();
        long inFlight = MemoryEstimate.inFlight(config, mapping, share);
        long waiting = microBatch.keptBytes() * (inFlight - chunks) / chunks;
        return new MemoryEstimate(
                WeightTraffic.held(config, share.pipelineRank())
                        + (config.recipe().kind().splitsMasters()
                                ? HALF * (share.dense() + share.expert() + matrices) + WORD * share.replicated()
                                : WORD * share.parameters()),
                WORD * share.parameters() + (sharded ? WORD * shard : 0),
                2 * WORD * shard,
                inFlight * BATCH_VECTORS * WORD * memory.tokens + step.peak(Region.ACTIVATIONS) + waiting,
                LIBRARY + memory.preparedWeights() + memory.tokens * WORD + step.peak(Region.WORKSPACE),
                step.lentPeak(),
                true);
    }

    /** Quantized weights, shared by forward and backward where the blocks are square or the scale is the tensor's, and the head's BF16 copy. */
    private long preparedWeights() {
        if (wide == WORD || config.recipe().kind() == RecipeConfig.Kind.BF16) {
            return 0; // the masters are the operands, or the parameters' region holds them
        }
        boolean square = config.recipe().kind() == RecipeConfig.Kind.NVFP4
                && config.recipe().weight2d();
        // FP8: bytes both ways round, the size of one BF16 copy.
        long copies = square || config.recipe().kind() == RecipeConfig.Kind.FP8 ? 1 : 2;
        long head = share.lastStage() ? (long) model.vocabSize() * model.hiddenSize() : 0;
        return wide * (copies * share.linear() + head);
    }

    /** What the loss allocates: normalized hidden states, their gradient, a piece of the logits and its gradient. */
    private long[] loss() {
        if (!share.lastStage()) {
            return new long[0];
        }
        long hidden = tokens * model.hiddenSize() * wide;
        long vocabulary = model.vocabSize();
        if (wide == WORD) {
            long rows = Math.min(tokens, Math.max(CHUNK_UNIT, CHUNK_LOGITS / vocabulary / CHUNK_UNIT * CHUNK_UNIT));
            return new long[] {hidden, hidden, rows * vocabulary * WORD};
        }
        // Hopper: sums by column tile of 256, exponentials, and the hidden states' scaled copy and FP32 gradient.
        long chunks = Math.max(1, (tokens * vocabulary + CHUNK_EXPONENTIALS - 1) / CHUNK_EXPONENTIALS);
        long unit = 2 * CHUNK_UNIT;
        long rows = Math.min(tokens, ((tokens + chunks - 1) / chunks + unit - 1) / unit * unit);
        return new long[] {
            hidden,
            hidden,
            rows * ((vocabulary + 255) / 256 + 3) * WORD,
            rows * vocabulary * wide,
            rows * model.hiddenSize() * wide,
            rows * model.hiddenSize() * WORD
        };
    }
}
