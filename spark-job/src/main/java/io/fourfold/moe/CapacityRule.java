package io.fourfold.moe;

import io.fourfold.config.CapacityConfig;
import io.fourfold.config.CapacityConfig.Policy;
import io.fourfold.config.CapacityConfig.Scope;
import io.fourfold.config.MoeConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Token dropping: of {@code n} tokens that share a capacity, an expert takes at most ceil(n * k / E * factor) slots. The
 * routing weights of the slots that stay are not renormalised; a token that loses all slots passes through the residual.
 *
 * <p>Sub-sequence scope counts the tokens this rank holds in one micro-batch (the default of arXiv:2504.14960);
 * full-sequence scope counts each sequence on its own, so it does not depend on the micro-batch size or the mapping.
 */
final class CapacityRule {
    private final @Nullable CapacityConfig config;
    private final int experts;
    private final int topK;

    CapacityRule(MoeConfig moe) {
        this.config = moe.capacity();
        this.experts = moe.experts();
        this.topK = moe.topK();
    }

    boolean drops() {
        return config != null;
    }

    /** Slots an expert takes of {@code tokens} tokens; never more than the tokens there are. */
    int capacity(int tokens) {
        if (config == null) {
            return tokens;
        }
        double slots = Math.ceil((double) tokens * topK / experts * config.factor());
        return (int) Math.min(tokens, slots);
    }

    /** Rows per expert when padded, else 0: as many as one rank can send, a host value. */
    int paddedRows(LocalTokens local) {
        if (config == null || !config.pad()) {
            return 0;
        }
        return perSequence()
                ? Math.min(local.count(), local.sequences() * capacity(local.sequenceLength()))
                : capacity(local.count());
    }

    /**
     * Marks dropped slots; see {@link MoeOps#dropOverCapacity}. Collective when sequences are shared: choices of whole
     * sequences are then gathered and every rank drops alike.
     */
    void apply(Backend backend, LocalTokens local, Tensor experts, Tensor weights, Tensor kept, Tensor keptCounts) {
        MoeOps ops = backend.moe();
        Tensor priority = config != null && config.policy() == Policy.PROBABILITY ? weights : null;
        if (!perSequence()) {
            ops.dropOverCapacity(experts, priority, local.count(), capacity(local.count()), kept, keptCounts);
            return;
        }
        int sequence = local.sequenceLength();
        if (!local.shared()) {
            ops.dropOverCapacity(experts, priority, sequence, capacity(sequence), kept, keptCounts);
            return;
        }
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            Tensor all = gathered(ops, experts, local, work);
            Tensor allPriorities = priority == null ? null : gathered(ops, priority, local, work);
            ops.dropOverCapacity(all, allPriorities, sequence, capacity(sequence), all, keptCounts);
            ops.gatherRows(all, Objects.requireNonNull(local.rows()), 1, kept);
            ops.countExperts(kept, keptCounts);
        }
    }

    /** Rows [T, k] of all holders in the order of the sequences. */
    private static Tensor gathered(MoeOps ops, Tensor rows, LocalTokens local, TensorScope work) {
        Tensor gathered = work.allocate(rows.dtype(), local.total(), rows.dim(1));
        local.holders().allGather(rows, gathered);
        if (local.rowOfGathered() == null) {
            return gathered;
        }
        Tensor ordered = work.allocate(rows.dtype(), gathered.shape());
        ops.gatherRows(gathered, local.rowOfGathered(), 1, ordered);
        return ordered;
    }

    private boolean perSequence() {
        return config != null && config.scope() == Scope.FULL_SEQUENCE;
    }
}
