package io.fourfold.plan;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecomputeModule;
import io.fourfold.config.SharedExpertConfig;
import java.util.List;

/** Elements that the layers of a rank keep of one token from its forward to its backward. */
final class KeptActivations {
    private final ModelConfig model;
    private final List<RecomputeModule> again;

    private KeptActivations(ModelConfig model, List<RecomputeModule> again) {
        this.model = model;
        this.again = again;
    }

    static long perToken(FourfoldConfig config, RankShare share) {
        return input(config)
                + new KeptActivations(config.model(), config.train().recompute()).of(share);
    }

    /** Without recomputation. */
    static long perTokenWhenAllIsKept(FourfoldConfig config, RankShare share) {
        return input(config) + new KeptActivations(config.model(), List.of()).of(share);
    }

    /** What comes into each chunk: the residual stream and the five vectors of the batch. */
    private static long input(FourfoldConfig config) {
        return config.parallel().virtualStages() * (config.model().hiddenSize() + 5L);
    }

    private long of(RankShare share) {
        long hidden = model.hiddenSize();
        if (again.contains(RecomputeModule.BLOCK)) {
            return share.layers() * hidden;
        }
        // The residual stream after each branch; what the branches keep.
        long dense = share.layers() - share.moeLayers();
        return share.layers() * (2 * hidden + attention()) + share.moeLayers() * experts() + dense * feedForward();
    }

    /** The normalized input and the scale of a norm. */
    private long norm() {
        return 1 + (again.contains(RecomputeModule.NORM) ? 0 : model.hiddenSize());
    }

    private long attention() {
        if (again.contains(RecomputeModule.ATTENTION)) {
            return 0;
        }
        AttentionConfig attention = model.attention();
        // Queries, keys, values and attention output; copies before QK norm; log-sum-exp and scales a head.
        long heads = 2L * attention.queryWidth() + 2L * attention.kvWidth();
        long normed = attention.qkNorm() ? attention.queryWidth() + 2L * attention.kvWidth() : 0;
        long statistics = attention.heads() + (attention.qkNorm() ? attention.heads() + attention.kvHeads() : 0);
        return norm() + heads + normed + statistics;
    }

    private long experts() {
        MoeConfig moe = model.moe();
        if (moe == null || again.contains(RecomputeModule.EXPERT)) {
            return 0;
        }
        long inner = inner(moe.activation().inputFactor());
        // Sorted inputs, fused gate and up, activation, and four indices or weights a slot.
        long rows = again.contains(RecomputeModule.DISPATCH) ? 0 : model.hiddenSize();
        long slot = rows + inner * moe.intermediateSize() + 4;
        SharedExpertConfig shared = moe.sharedExpert();
        long sharedInner = shared == null ? 0 : inner * shared.intermediateSize() + model.hiddenSize();
        return norm() + moe.topK() * slot + sharedInner + 2L * moe.experts();
    }

    private long feedForward() {
        FfnConfig ffn = model.ffn();
        if (ffn == null || again.contains(RecomputeModule.EXPERT)) {
            return 0;
        }
        return norm() + inner(ffn.activation().inputFactor()) * ffn.intermediateSize();
    }

    /** Values kept for each unit of the inner width. */
    private long inner(int inputFactor) {
        return inputFactor + (again.contains(RecomputeModule.ACTIVATION) ? 0 : 1);
    }
}
