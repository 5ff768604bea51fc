package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;

/**
 * A grouped operand of the CPU backend: each group is one {@link CpuOperand} whose values are a view of one buffer.
 *
 * @param first per group, the source row its first element came from (RAGGED_ROWS: also the first row of C)
 * @param width rows of each group's operand for STACKED and RAGGED_DEPTH; depth for RAGGED_ROWS
 */
record CpuGroupedOperand(Layout layout, OperandSpec spec, CpuOperand[] members, int[] first, int width)
        implements GroupedOperand {

    static CpuGroupedOperand of(GroupedOperand operand, Layout expected, String role) {
        if (!(operand instanceof CpuGroupedOperand cpu)) {
            throw new IllegalArgumentException("not a grouped operand of the CPU backend: " + operand);
        }
        if (cpu.layout != expected) {
            throw new IllegalArgumentException("operand " + role + " must be " + expected + ", got " + cpu.layout);
        }
        return cpu;
    }

    @Override
    public int groups() {
        return members.length;
    }
}
