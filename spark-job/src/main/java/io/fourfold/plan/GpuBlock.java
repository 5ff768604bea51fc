package io.fourfold.plan;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.config.RecomputeModule;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.Recipe;

/**
 * Bytes of the tensors that one block allocates on a GPU, as its layers do: what forward keeps, and what lives within
 * backward. BF16 takes two bytes; an FP8 operand one; an NVFP4 operand is values in BF16, but what forward keeps for the weight
 * gradient is codes and scales, which backward decodes before the product.
 *
 * @param layer 0-based, for its formats
 * @param tokens of a micro-batch on this rank
 */
record GpuBlock(FourfoldConfig config, Recipe recipe, int layer, boolean moe, long tokens) {
    private static final long WORD = 4;
    /** Columns of a tile of FP8 operands. */
    private static final int TILE = 128;

    private long wide() {
        return recipe.activationType().bytes();
    }

    private ModelConfig model() {
        return config.model();
    }

    /** Rows of the residual stream. */
    long hidden() {
        return tokens * model().hiddenSize() * wide();
    }

    private boolean again(RecomputeModule module) {
        return config.train().recompute().contains(module);
    }

    private boolean quantized(LinearKind kind) {
        return recipe.linear(layer, kind, 0).wgradX().quantized();
    }

    private boolean fp8(LinearKind kind) {
        OperandSpec.Format format = recipe.linear(layer, kind, 0).wgradX().format();
        return format == OperandSpec.Format.FP8_E4M3 || format == OperandSpec.Format.FP8_E5M2;
    }

    /** Whether a layer's operands can be made without their source in memory; statistics are taken of the source. */
    private boolean unstored(LinearKind kind) {
        return moe && fp8(kind) && config.recipe().telemetryEvery() == 0;
    }

    /** Whether operands of rows that are copies of tokens are made of the tokens. */
    private boolean copied(LinearKind kind) {
        boolean local =
                config.parallel().expertParallelSize() == 1 && config.parallel().expertTensorParallelSize() == 1;
        return unstored(kind) && local;
    }

    private boolean copiedInput() {
        return copied(LinearKind.EXPERT_UP)
                && config.recipe().dispatch() == RecipeConfig.Dispatch.EXACT
                && !again(RecomputeModule.DISPATCH);
    }

    /** Whether operands of the activation and of its gradient, of a layer of that kind, are made as they are computed. */
    private boolean activated(LinearKind kind) {
        return unstored(kind)
                && experts().activation() == Activation.SWIGLU
                && experts().intermediateSize() % TILE == 0;
    }

    /** Whether forward keeps a layer's input for the weight gradient as NVFP4 codes and scales. */
    private boolean packed(LinearKind kind) {
        OperandSpec spec = recipe.linear(layer, kind, 0).wgradX();
        return spec.format() == OperandSpec.Format.NVFP4 && spec.hadamard();
    }

    /** An operand made of a BF16 tensor of so many bytes: one byte an element with FP8, BF16 values otherwise. */
    private long operand(LinearKind kind, long bytes) {
        return fp8(kind) ? bytes / wide() : bytes;
    }

    /** What forward keeps of a layer's input of so many bytes: with NVFP4 4.5 bits an element. */
    private long input(LinearKind kind, long bytes) {
        return packed(kind) ? bytes / wide() * 9 / 16 : operand(kind, bytes);
    }

    /** Values of a packed input, while its weight gradient is multiplied. */
    private long decoded(LinearKind kind, long bytes) {
        return packed(kind) ? bytes : 0;
    }

    private long unless(RecomputeModule module, long bytes) {
        return again(module) ? 0 : bytes;
    }

    private long projected() {
        AttentionConfig attention = model().attention();
        return attention.queryWidth() + 2L * attention.kvWidth();
    }

    /** Norm, projections, attention output (a quantized output projection keeps its own copy) and its statistics. */
    long[] attentionKept() {
        AttentionConfig attention = model().attention();
        long qkv = tokens * projected() * wide();
        long out = tokens * attention.queryWidth() * wide();
        boolean normed = attention.qkNorm();
        return new long[] {
            tokens * WORD,
            unless(RecomputeModule.NORM, input(LinearKind.QKV, hidden())),
            qkv,
            normed ? qkv : 0,
            normed ? tokens * (attention.heads() + attention.kvHeads()) * WORD : 0,
            out,
            quantized(LinearKind.ATTENTION_OUTPUT) ? input(LinearKind.ATTENTION_OUTPUT, out) : 0,
            tokens * attention.heads() * WORD
        };
    }

    /** Operands made of the inputs of attention's two products, where they are quantized. */
    long[] attentionForward() {
        long out = tokens * model().attention().queryWidth() * wide();
        return new long[] {
            quantized(LinearKind.QKV) ? hidden() : 0,
            quantized(LinearKind.QKV) ? operand(LinearKind.QKV, hidden()) : 0,
            quantized(LinearKind.ATTENTION_OUTPUT) ? operand(LinearKind.ATTENTION_OUTPUT, out) : 0
        };
    }

    /** The experts' output, and the inputs of their products beside operands made of them. */
    long[] feedForwardForward() {
        boolean up = quantized(moe ? LinearKind.EXPERT_UP : LinearKind.FFN_UP);
        boolean down = quantized(moe ? LinearKind.EXPERT_DOWN : LinearKind.FFN_DOWN);
        long outer = moe ? rows() * model().hiddenSize() * wide() : hidden();
        long inner = moe ? rows() * experts().intermediateSize() * wide() : tokens * ffn().intermediateSize() * wide();
        return new long[] {
            moe ? outer : 0,
            (up && !copiedInput()) || again(RecomputeModule.DISPATCH) ? outer : 0,
            up ? operand(moe ? LinearKind.EXPERT_UP : LinearKind.FFN_UP, outer) : 0,
            (down && !activated(LinearKind.EXPERT_DOWN)) || again(RecomputeModule.ACTIVATION) ? inner : 0,
            down ? operand(moe ? LinearKind.EXPERT_DOWN : LinearKind.FFN_DOWN, inner) : 0
        };
    }

    /** Gradients inside attention's backward; the Hopper kernels sum dQ in FP32 and keep three words a query and head. */
    long[] attentionBackward() {
        AttentionConfig attention = model().attention();
        long qkv = tokens * projected() * wide();
        boolean hopper = wide() < WORD && (attention.headDim() == 64 || attention.headDim() == 128);
        long copy = quantized(LinearKind.ATTENTION_OUTPUT) ? operand(LinearKind.ATTENTION_OUTPUT, hidden()) : 0;
        long qkvCopy = quantized(LinearKind.QKV) ? operand(LinearKind.QKV, qkv) : 0;
        return new long[] {
            copy,
            copy,
            tokens * attention.queryWidth() * wide(),
            qkv,
            hopper ? tokens * WORD * attention.queryWidth() : 0,
            hopper ? tokens * WORD * 3L * attention.heads() : 0,
            qkvCopy,
            qkvCopy,
            again(RecomputeModule.NORM) ? hidden() : decoded(LinearKind.QKV, hidden())
        };
    }

    private MoeConfig experts() {
        MoeConfig experts = model().moe();
        if (experts == null) {
            throw new IllegalStateException("a block with experts in a model without");
        }
        return experts;
    }

    private FfnConfig ffn() {
        FfnConfig ffn = model().ffn();
        if (ffn == null) {
            throw new IllegalStateException("a dense block in a model without model.ffn");
        }
        return ffn;
    }

    private long rows() {
        return tokens * experts().topK();
    }

    /** What lives until the branch's backward is over. */
    long[] feedForwardKept() {
        long rstd = tokens * WORD;
        long normalized = unless(RecomputeModule.NORM, hidden());
        if (!moe) {
            long inner = tokens * ffn().intermediateSize() * wide();
            return new long[] {
                rstd,
                unless(RecomputeModule.NORM, input(LinearKind.FFN_UP, hidden())),
                ffn().activation().inputFactor() * inner,
                unless(RecomputeModule.ACTIVATION, input(LinearKind.FFN_DOWN, inner))
            };
        }
        long scores = tokens * experts().experts() * WORD;
        long map = rows() * WORD;
        SharedExpertConfig shared = experts().sharedExpert();
        long sharedInner = shared == null ? 0 : tokens * shared.intermediateSize() * wide();
        // Logits and scores; expert, weight, row, slot, probability and row id of each slot; the experts' input.
        return new long[] {
            rstd,
            normalized,
            scores,
            scores,
            map,
            map,
            map,
            map,
            map,
            map,
            unless(RecomputeModule.DISPATCH, input(LinearKind.EXPERT_UP, rows() * model().hiddenSize() * wide())),
            shared != null && shared.gated() ? hidden() + tokens * WORD : 0,
            experts().activation().inputFactor() * sharedInner,
            shared != null && quantized(LinearKind.SHARED_UP) ? input(LinearKind.SHARED_UP, hidden()) : 0,
            unless(RecomputeModule.ACTIVATION, input(LinearKind.SHARED_DOWN, sharedInner))
        };
    }

    /** What lives until the gradient of the experts' first layer is multiplied. */
    long[] insideExpertsKept() {
        if (!moe) {
            return new long[0];
        }
        long inner = rows() * experts().intermediateSize() * wide();
        return new long[] {
            experts().activation().inputFactor() * inner,
            unless(RecomputeModule.ACTIVATION, input(LinearKind.EXPERT_DOWN, inner))
        };
    }

    /** In backward, until the gradient before the activation is there. */
    long[] insideExpertsBackward() {
        if (!moe) {
            return new long[0];
        }
        long outer = rows() * model().hiddenSize() * wide();
        long inner = rows() * experts().intermediateSize() * wide();
        long copy = quantized(LinearKind.EXPERT_DOWN) ? operand(LinearKind.EXPERT_DOWN, outer) : 0;
        return new long[] {
            inner, copied(LinearKind.EXPERT_DOWN) ? 0 : outer, copy, copy, again(RecomputeModule.ACTIVATION) ? inner : 0
        };
    }

    /** The gradient before the activation, or the operands made of it as it is computed. */
    long[] innerGradients() {
        long copy = operand(LinearKind.EXPERT_UP, innerGradient());
        return activated(LinearKind.EXPERT_UP) ? new long[] {copy, copy} : new long[] {innerGradient()};
    }

    private long innerGradient() {
        Activation activation = moe ? experts().activation() : ffn().activation();
        long width = moe ? rows() * experts().intermediateSize() : tokens * ffn().intermediateSize();
        return activation.inputFactor() * width * wide();
    }

    /** What comes after it: the gradient of the experts' input, or all of a dense network's. */
    long[] outerGradients() {
        LinearKind kind = moe ? LinearKind.EXPERT_UP : LinearKind.FFN_UP;
        boolean low = quantized(kind);
        long copy = low && !activated(kind) ? operand(kind, innerGradient()) : 0;
        long normalized = again(RecomputeModule.NORM) ? hidden() : 0;
        if (moe) {
            SharedExpertConfig shared = experts().sharedExpert();
            long inner = shared == null ? 0 : tokens * shared.intermediateSize() * wide();
            return new long[] {
                rows() * model().hiddenSize() * wide(),
                copy,
                copy,
                again(RecomputeModule.DISPATCH)
                        ? rows() * model().hiddenSize() * wide()
                        : decoded(LinearKind.EXPERT_UP, rows() * model().hiddenSize() * wide()),
                normalized,
                shared == null ? 0 : hidden() + (1 + experts().activation().inputFactor()) * inner
            };
        }
        long inner = tokens * ffn().intermediateSize() * wide();
        return new long[] {
            inner, copy, copy, low ? 2 * hidden() : 0, normalized, again(RecomputeModule.ACTIVATION) ? inner : 0
        };
    }
}
