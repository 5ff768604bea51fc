package io.fourfold.moe;

import io.fourfold.config.MoeConfig;
import io.fourfold.config.RouterConfig;
import io.fourfold.config.RouterConfig.AuxLossScope;
import io.fourfold.kernels.op.RouterSpec.Score;

/**
 * The load-balancing loss (Switch Transformer, arXiv:2101.03961, in the form Megatron Core uses):
 *
 * <pre>  coeff * E / (k * T^2) * sum_e n_e * P_e </pre>
 *
 * over T tokens, n_e slots that chose expert e before dropping (a constant for the gradient) and P_e the sum of expert
 * e's scores, which for sigmoid routers are first divided by their sum over the experts. With perfect balance its value
 * is coeff.
 *
 * <ul>
 *   <li>Micro-batch: T is the micro-batch; the objective gets the mean over micro-batches.
 *   <li>Sequence: T is one sequence; the mean over all sequences. Independent of the micro-batch size and the mapping.
 *   <li>Global batch: T is the global batch and n_e / (k * T) is the load of the <em>previous</em> step, summed over all
 *       ranks. The load of the current step is unknown until its last micro-batch has been forwarded, and a running sum
 *       (Megatron Core) makes the gradient depend on how the batch is split into micro-batches and ranks. One step of
 *       delay makes it a pure function of checkpointed state; on the first step the load counts as even.
 * </ul>
 */
final class BalanceLoss {
    private final RouterConfig router;
    private final int experts;
    private final int topK;

    BalanceLoss(MoeConfig moe) {
        this.router = moe.router();
        this.experts = moe.experts();
        this.topK = moe.topK();
    }

    boolean enabled() {
        return router.auxLossCoeff() > 0;
    }

    boolean perSequence() {
        return enabled() && router.auxLossScope() == AuxLossScope.SEQUENCE;
    }

    boolean global() {
        return enabled() && router.auxLossScope() == AuxLossScope.GLOBAL_BATCH;
    }

    /** True when scores are divided by their sum over the experts first. */
    boolean normalizesScores() {
        return router.score() == Score.SIGMOID;
    }

    /**
     * What {@code sum_e load_e * P_e} of one group is multiplied with, where load is the previous step's share of slots per
     * expert (global batch) or the group's slot counts.
     *
     * @param tokens tokens of the group
     * @param share share of the group's tokens in the global batch
     */
    double factor(int tokens, double share) {
        double perToken = router.auxLossCoeff() * experts / tokens * share;
        return global() ? perToken : perToken / ((double) topK * tokens);
    }
}
