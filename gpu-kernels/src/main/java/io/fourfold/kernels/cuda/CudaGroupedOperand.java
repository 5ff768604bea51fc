package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import org.jspecify.annotations.Nullable;

/**
 * A grouped operand of the CUDA backend; values in the layout of their source.
 *
 * @param values STACKED [groups, width, depth], or [groups, depth, width] when {@code depthMajor}; RAGGED_ROWS [R, depth];
 *     RAGGED_DEPTH [R, width]
 * @param width rows of each group's matrix (STACKED, RAGGED_DEPTH); 0 for RAGGED_ROWS
 * @param depth dot-product length (STACKED, RAGGED_ROWS); 0 for RAGGED_DEPTH
 * @param offsets INT32 [groups + 1] rows of {@code values} where the groups begin (ragged); null for STACKED
 * @param padded the groups begin at multiples of 16 rows, where a Hadamard transform has written whole blocks
 * @param scale FP32 [groups], factors of the finished products; null = 1
 */
record CudaGroupedOperand(
        Layout layout,
        OperandSpec spec,
        int groups,
        CudaTensor values,
        int width,
        int depth,
        boolean depthMajor,
        @Nullable CudaTensor offsets,
        boolean padded,
        @Nullable CudaTensor scale)
        implements GroupedOperand {

    static CudaGroupedOperand of(GroupedOperand operand, Layout expected, String role) {
        if (!(operand instanceof CudaGroupedOperand cuda)) {
            throw new IllegalArgumentException("not a grouped operand of the CUDA backend: " + operand);
        }
        if (cuda.layout != expected) {
            throw new IllegalArgumentException("operand " + role + " must be " + expected + ", got " + cuda.layout);
        }
        return cuda;
    }
}
