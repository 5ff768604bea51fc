package io.fourfold.plan;

import io.fourfold.config.CapacityConfig;
import io.fourfold.config.DispatchUnit;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.parallel.ParallelMapping;

/**
 * What one MoE layer moves for one micro-batch of a rank.
 *
 * @param sent bytes to all ranks of the EP group, its own included
 * @param gathered bytes to each other rank of the ETP group
 */
record ExpertTraffic(long sent, long gathered) {
    private static final int WORD = 4;
    private static final int COUNTS = 2;

    /**
     * @param tokens of one rank
     * @param row bytes of a token's activation
     */
    static ExpertTraffic of(FourfoldConfig config, MoeConfig moe, ParallelMapping mapping, long tokens, long row) {
        CapacityConfig capacity = moe.capacity();
        boolean padded = capacity != null && capacity.pad();
        long rows = 3 * row
                + dispatchedRow(config.recipe().dispatch(), row, config.model().hiddenSize());
        if (padded || config.parallel().dispatchUnit() == DispatchUnit.SLOT) {
            // Rows four times; routing weight, row id and the weight's gradient once each.
            long bytes = tokens * moe.topK() * (rows + 3 * WORD);
            long counts = (long) moe.experts() * WORD;
            return new ExpertTraffic(bytes + (padded ? 0 : counts), bytes + counts);
        }
        // Experts and weights of k slots and the row id once, the gradients of the weights once.
        long token = rows + (3L * moe.topK() + 1) * WORD;
        long bytes = Math.round(tokens * ranksOfToken(moe, mapping.expert()) * token);
        long counts = (long) mapping.expert() * COUNTS * WORD;
        return new ExpertTraffic(mapping.expert() == 1 ? bytes : bytes + counts, bytes + counts);
    }

    /** Mean number of ranks that hold some of a token's k experts: each holds none with C(E - E/EP, k) / C(E, k). */
    static double ranksOfToken(MoeConfig moe, int expertParallel) {
        int elsewhere = moe.experts() - moe.experts() / expertParallel;
        double none = 1;
        for (int i = 0; i < moe.topK(); i++) {
            none *= Math.max(0, elsewhere - i) / (double) (moe.experts() - i);
        }
        return expertParallel * (1 - none);
    }

    /** Bytes of a row on its way to an expert in the forward pass. */
    private static long dispatchedRow(RecipeConfig.Dispatch dispatch, long exact, int hidden) {
        return switch (dispatch) {
            case EXACT -> exact;
            case FP8 -> (long) WORD * RowFormat.FP8.words(hidden);
            case NVFP4 -> (long) WORD * RowFormat.NVFP4.words(hidden);
        };
    }
}
