package io.fourfold.parallel;

import java.util.Locale;

/**
 * A set of grid dimensions along which ranks form groups: two ranks are in one group of an axis when they differ in these
 * dimensions only.
 */
public enum Axis {
    /** Tensor parallel ranks of attention and dense layers. */
    TP(false, 0),
    /** Ranks that share a sequence. */
    CP(false, 1),
    /** Replicas of attention that see different samples. */
    DP(false, 2),
    /** Pipeline stages; the same groups in both grids. */
    PP(false, 3),
    /** Ranks that hold parts of the same samples. */
    TP_CP(false, 0, 1),
    /** Ranks that hold the same dense parameters: their gradients are reduced here. */
    DP_CP(false, 1, 2),
    /** Parts of one expert. */
    ETP(true, 0),
    /** Ranks that hold different experts: tokens travel here. */
    EP(true, 1),
    /** Ranks that hold the same experts: their gradients are reduced here. */
    EDP(true, 2),
    /** Ranks that together hold every expert whole. */
    ETP_EP(true, 0, 1),
    /** All ranks of one pipeline stage. */
    STAGE(false, 0, 1, 2);

    private final boolean moe;
    private final boolean[] varies = new boolean[4];

    Axis(boolean moe, int... dimensions) {
        this.moe = moe;
        for (int dimension : dimensions) {
            varies[dimension] = true;
        }
    }

    /** True when the axis is of the MoE grid ETP x EP x EDP x PP, else of the attention grid TP x CP x DP x PP. */
    boolean moe() {
        return moe;
    }

    /** Whether ranks of a group differ in grid dimension 0..3, fastest first. */
    boolean varies(int dimension) {
        return varies[dimension];
    }

    /** Name in messages and of communicators, for example {@code dp_cp}. */
    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }
}
