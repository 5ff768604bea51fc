package io.fourfold.moe;

import io.fourfold.config.CapacityConfig;
import io.fourfold.config.CapacityConfig.Policy;
import io.fourfold.config.CapacityConfig.Scope;
import io.fourfold.config.MoeConfig;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.Tensor;
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

    /** Rows per expert when padded, else 0. */
    int paddedRows(int sequences, int sequenceLength) {
        if (config == null || !config.pad()) {
            return 0;
        }
        int group = group(sequences, sequenceLength);
        return sequences * sequenceLength / group * capacity(group);
    }

    /** Marks dropped slots; see {@link MoeOps#dropOverCapacity}. */
    void apply(
            MoeOps ops,
            int sequences,
            int sequenceLength,
            Tensor experts,
            Tensor weights,
            Tensor kept,
            Tensor keptCounts) {
        int group = group(sequences, sequenceLength);
        Tensor priority = config != null && config.policy() == Policy.PROBABILITY ? weights : null;
        ops.dropOverCapacity(experts, priority, group, capacity(group), kept, keptCounts);
    }

    private int group(int sequences, int sequenceLength) {
        boolean perSequence = config != null && config.scope() == Scope.FULL_SEQUENCE;
        return perSequence ? sequenceLength : sequences * sequenceLength;
    }
}
