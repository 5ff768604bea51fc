package io.fourfold.kernels.op;

/**
 * Operands of a grouped GEMM, one group per local expert. Either stacked (equal matrices, [G, rows, depth]: weights) or
 * ragged (one buffer split by device-side offsets: tokens). Each group has its own tensor scale.
 */
public interface GroupedOperand {
    /** How the groups share the buffer. */
    enum Layout {
        /** G matrices of the same size. */
        STACKED,
        /** The operand's rows are split by offsets: activations in fprop and dgrad. */
        RAGGED_ROWS,
        /** The operand's depth is split by offsets: both operands of wgrad. */
        RAGGED_DEPTH
    }

    Layout layout();

    int groups();

    OperandSpec spec();
}
