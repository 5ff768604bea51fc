package io.fourfold.plan;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.config.RecomputeModule;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.Recipe;

/**
 * Bytes that a rank needs on a GPU, by region of its arena, tensor by tensor as the layers allocate them: BF16 takes two
 * bytes, NVFP4 operands are values in BF16 (the emulation on GPUs without FP4 units). {@code fourfold bench} shows planned
 * and used bytes side by side.
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
        return new MemoryEstimate(
                config.recipe().kind().splitsMasters()
                        ? HALF * (share.dense() + share.expert() + matrices) + WORD * share.replicated()
                        : WORD * share.parameters(),
                WORD * share.parameters() + (sharded ? WORD * shard : 0),
                2 * WORD * shard,
                memory.tokens * memory.keptPerToken(),
                memory.workspace(),
                true);
    }

    private boolean recomputes(RecomputeModule module) {
        return config.train().recompute().contains(module);
    }

    /** The residual stream that comes in, six vectors of the batch, and what the layers keep. */
    private long keptPerToken() {
        long hidden = model.hiddenSize();
        long bytes = hidden * wide + 6 * WORD;
        long dense = share.layers() - share.moeLayers();
        if (recomputes(RecomputeModule.BLOCK)) {
            return bytes + share.layers() * hidden * wide;
        }
        return bytes
                + share.layers() * (2 * hidden * wide + attention())
                + share.moeLayers() * experts()
                + dense * feedForward();
    }

    private long norm() {
        return WORD + (recomputes(RecomputeModule.NORM) ? 0 : model.hiddenSize() * wide);
    }

    private long attention() {
        if (recomputes(RecomputeModule.ATTENTION)) {
            return 0;
        }
        AttentionConfig attention = model.attention();
        long projected = attention.queryWidth() + 2L * attention.kvWidth();
        long normed =
                attention.qkNorm() ? projected * wide + (long) (attention.heads() + attention.kvHeads()) * WORD : 0;
        // A quantized output projection keeps its own copy of the attention output.
        long copies = quantized(LinearKind.ATTENTION_OUTPUT) ? 2 : 1;
        return norm()
                + projected * wide
                + normed
                + copies * attention.queryWidth() * wide
                + (long) attention.heads() * WORD;
    }

    private long experts() {
        MoeConfig moe = model.moe();
        if (moe == null || recomputes(RecomputeModule.EXPERT)) {
            return 0;
        }
        long activated = recomputes(RecomputeModule.ACTIVATION) ? 0 : 1;
        long inner = (moe.activation().inputFactor() + activated) * moe.intermediateSize();
        // Expert, weight, row, slot, probability and row id of each slot; logits and scores.
        long slot = (model.hiddenSize() + inner) * wide + 6 * WORD;
        SharedExpertConfig shared = moe.sharedExpert();
        long sharedInner = shared == null
                ? 0
                : (moe.activation().inputFactor() + activated) * shared.intermediateSize() * wide
                        + (shared.gated() ? model.hiddenSize() * wide + WORD : 0);
        return norm() + moe.topK() * slot + sharedInner + 2L * moe.experts() * WORD;
    }

    private long feedForward() {
        FfnConfig ffn = model.ffn();
        if (ffn == null || recomputes(RecomputeModule.EXPERT)) {
            return 0;
        }
        long activated = recomputes(RecomputeModule.ACTIVATION) ? 0 : 1;
        return norm() + (ffn.activation().inputFactor() + activated) * ffn.intermediateSize() * wide;
    }

    /** What lives through a step, and the larger of the loss and the backward of a layer. */
    private long workspace() {
        long hidden = tokens * model.hiddenSize() * wide;
        long prepared = config.recipe().kind() == RecipeConfig.Kind.FP32 || wide == WORD ? 0 : preparedWeights();
        long loss = share.lastStage() ? 3 * hidden + logits() : 0;
        return LIBRARY + prepared + tokens * WORD + Math.max(loss, 2 * hidden + layerGradients());
    }

    /** Quantized weights, shared by forward and backward where the blocks are square or the scale is the tensor's, and the head's BF16 copy. */
    private long preparedWeights() {
        if (config.recipe().kind() == RecipeConfig.Kind.BF16) {
            return 0; // the parameters' region holds them
        }
        boolean square = config.recipe().kind() == RecipeConfig.Kind.NVFP4
                && config.recipe().weight2d();
        // FP8 experts: bytes both ways round, the size of one BF16 copy; FP8 dense layers: one BF16 copy.
        long copies = square || config.recipe().kind() == RecipeConfig.Kind.FP8 ? 1 : 2;
        long head = share.lastStage() ? (long) model.vocabSize() * model.hiddenSize() : 0;
        return wide * (copies * share.linear() + head);
    }

    private long logits() {
        long vocabulary = model.vocabSize();
        if (wide == WORD) {
            long rows = Math.min(tokens, Math.max(CHUNK_UNIT, CHUNK_LOGITS / vocabulary / CHUNK_UNIT * CHUNK_UNIT));
            return rows * vocabulary * WORD;
        }
        // Hopper: exponentials, sums by column tile of 256, and the hidden states' factors, gradient and scaled copy.
        long chunks = Math.max(1, (tokens * vocabulary + CHUNK_EXPONENTIALS - 1) / CHUNK_EXPONENTIALS);
        long unit = 2 * CHUNK_UNIT;
        long rows = Math.min(tokens, ((tokens + chunks - 1) / chunks + unit - 1) / unit * unit);
        return rows
                * (vocabulary * wide + (vocabulary + 255) / 256 * WORD + model.hiddenSize() * (WORD + wide) + 3 * WORD);
    }

    /** Gradients inside the experts' backward or the attention's, with the quantized operands made of them. */
    private long layerGradients() {
        AttentionConfig attention = model.attention();
        long projected = attention.queryWidth() + 2L * attention.kvWidth();
        long inAttention = tokens
                * wide
                * (attention.queryWidth()
                        + projected
                        + 2 * (quantized(LinearKind.ATTENTION_OUTPUT) ? model.hiddenSize() : 0)
                        + 2 * (quantized(LinearKind.QKV) ? projected : 0));
        // The Hopper kernels sum dQ in FP32 and keep three words for each query of a head.
        boolean hopper = wide < WORD && (attention.headDim() == 64 || attention.headDim() == 128);
        inAttention += hopper ? tokens * WORD * (attention.queryWidth() + 3L * attention.heads()) : 0;
        MoeConfig moe = model.moe();
        FfnConfig ffn = model.ffn();
        long width = moe != null ? moe.intermediateSize() : ffn == null ? 0 : ffn.intermediateSize();
        long inputs = (moe != null
                        ? moe.activation().inputFactor()
                        : ffn == null ? 0 : ffn.activation().inputFactor())
                * width;
        boolean low = quantized(moe != null ? LinearKind.EXPERT_UP : LinearKind.FFN_UP);
        long rows = moe != null ? tokens * moe.topK() : tokens;
        long outer = moe != null ? 2L * model.hiddenSize() : 0;
        long inExperts = rows * wide * (outer + width + inputs + (low ? 2 * model.hiddenSize() + 2 * inputs : 0));
        return Math.max(inAttention, inExperts);
    }

    /** Whether the layer of this kind in the first block is quantized. */
    private boolean quantized(LinearKind kind) {
        return recipe.linear(0, kind, 0).wgradX().quantized();
    }
}
