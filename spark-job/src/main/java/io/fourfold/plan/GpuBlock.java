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
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.Recipe;

/**
 * Bytes of the tensors that one block allocates on a GPU, as its layers do: what forward keeps, and what lives within
 * backward. BF16 takes two bytes; an NVFP4 operand is values in BF16, an FP8 operand
 * codes of a byte.
 *
 * @param layer 0-based, for its formats
 * @param tokens of a micro-batch on this rank
 */
record GpuBlock(FourfoldConfig config, Recipe recipe, int layer, boolean moe, long tokens) {
    private static final long WORD = 4;

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

    /** An operand made of BF16 values of so many bytes: FP8 codes take one each. 0 where the values are the operand. */
    private long copy(LinearKind kind, long bytes) {
        if (!quantized(kind)) {
            return 0;
        }
        return config.recipe().kind() == RecipeConfig.Kind.FP8 ? bytes / wide() : bytes;
    }

    /** What backward multiplies an input of so many bytes as: the input itself, or the operand made of it. */
    private long kept(LinearKind kind, long bytes) {
        return quantized(kind) ? copy(kind, bytes) : bytes;
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
            unless(RecomputeModule.NORM, kept(LinearKind.QKV, hidden())),
            qkv,
            normed ? qkv : 0,
            normed ? tokens * (attention.heads() + attention.kvHeads()) * WORD : 0,
            out,
            copy(LinearKind.ATTENTION_OUTPUT, out),
            tokens * attention.heads() * WORD
        };
    }

    /** Operands made of the inputs of attention's two products, where they are quantized. */
    long[] attentionForward() {
        long out = tokens * model().attention().queryWidth() * wide();
        return new long[] {
            quantized(LinearKind.QKV) ? hidden() : 0,
            copy(LinearKind.QKV, hidden()),
            copy(LinearKind.ATTENTION_OUTPUT, out)
        };
    }

    /** The experts' output, and the inputs of their products beside operands made of them. */
    long[] feedForwardForward() {
        LinearKind up = moe ? LinearKind.EXPERT_UP : LinearKind.FFN_UP;
        LinearKind down = moe ? LinearKind.EXPERT_DOWN : LinearKind.FFN_DOWN;
        long outer = moe ? rows() * model().hiddenSize() * wide() : hidden();
        long inner = moe ? rows() * experts().intermediateSize() * wide() : tokens * ffn().intermediateSize() * wide();
        return new long[] {
            moe ? outer : 0,
            quantized(up) || again(RecomputeModule.DISPATCH) ? outer : 0,
            copy(up, outer),
            quantized(down) || again(RecomputeModule.ACTIVATION) ? inner : 0,
            copy(down, inner)
        };
    }

    /** Gradients inside attention's backward; the Hopper kernels sum dQ in FP32 and keep three words a query and head. */
    long[] attentionBackward() {
        AttentionConfig attention = model().attention();
        long qkv = tokens * projected() * wide();
        boolean hopper = wide() < WORD && (attention.headDim() == 64 || attention.headDim() == 128);
        long copy = copy(LinearKind.ATTENTION_OUTPUT, hidden());
        long qkvCopy = copy(LinearKind.QKV, qkv);
        return new long[] {
            copy,
            copy,
            tokens * attention.queryWidth() * wide(),
            qkv,
            hopper ? tokens * WORD * attention.queryWidth() : 0,
            hopper ? tokens * WORD * 3L * attention.heads() : 0,
            qkvCopy,
            qkvCopy,
            again(RecomputeModule.NORM) ? hidden() : 0
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
                kept(LinearKind.FFN_UP, normalized),
                ffn().activation().inputFactor() * inner,
                unless(RecomputeModule.ACTIVATION, kept(LinearKind.FFN_DOWN, inner))
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
            unless(RecomputeModule.DISPATCH, kept(LinearKind.EXPERT_UP, rows() * model().hiddenSize() * wide())),
            shared != null && shared.gated() ? hidden() + tokens * WORD : 0,
            experts().activation().inputFactor() * sharedInner,
            unless(RecomputeModule.ACTIVATION, sharedInner)
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
            unless(RecomputeModule.ACTIVATION, kept(LinearKind.EXPERT_DOWN, inner))
        };
    }

    /** In backward, until the gradient before the activation is there. */
    long[] insideExpertsBackward() {
        if (!moe) {
            return new long[0];
        }
        long outer = rows() * model().hiddenSize() * wide();
        long inner = rows() * experts().intermediateSize() * wide();
        long copy = copy(LinearKind.EXPERT_DOWN, outer);
        return new long[] {inner, outer, copy, copy, again(RecomputeModule.ACTIVATION) ? inner : 0};
    }

    /** The gradient before the activation. */
    long innerGradient() {
        Activation activation = moe ? experts().activation() : ffn().activation();
        long width = moe ? rows() * experts().intermediateSize() : tokens * ffn().intermediateSize();
        return activation.inputFactor() * width * wide();
    }

    /** What comes after it: the gradient of the experts' input, or all of a dense network's. */
    long[] outerGradients() {
        boolean low = quantized(moe ? LinearKind.EXPERT_UP : LinearKind.FFN_UP);
        long copy = copy(moe ? LinearKind.EXPERT_UP : LinearKind.FFN_UP, innerGradient());
        long normalized = again(RecomputeModule.NORM) ? hidden() : 0;
        if (moe) {
            SharedExpertConfig shared = experts().sharedExpert();
            long inner = shared == null ? 0 : tokens * shared.intermediateSize() * wide();
            return new long[] {
                rows() * model().hiddenSize() * wide(),
                copy,
                copy,
                again(RecomputeModule.DISPATCH) ? rows() * model().hiddenSize() * wide() : 0,
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
