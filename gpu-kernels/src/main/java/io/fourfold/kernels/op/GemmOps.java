package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Matrix products of prepared operands. Every product has the form C = A * B^T with FP32 accumulation; C is FP32 or BF16.
 * With operands made by {@link QuantizeOps}: fprop Y = X * W^T (both by rows), dgrad dX = dY * (W^T)^T (dY by rows, W by
 * columns), wgrad dW = dY^T * (X^T)^T (both by columns).
 */
public interface GemmOps {
    /**
     * C = A * B^T, or C += when accumulating.
     *
     * @param c [a.rows, b.rows]
     */
    void multiply(GemmOperand a, GemmOperand b, Tensor c, boolean accumulate);

    /**
     * C = A * B^T for rows as they are, which may be some of a larger matrix. Its product has the same values there but for the
     * order of the FP32 sums, which matrix libraries choose by the number of rows and by the place of a row among them.
     *
     * @param a values that {@link OperandSpec#keeps an operand would keep}
     * @param c [rows of a, b.rows]
     */
    void multiplyRows(Tensor a, GemmOperand b, Tensor c);

    /**
     * C_g = A_g * B_g^T for each group; rows of A and C are split by the same offsets.
     *
     * @param a {@link GroupedOperand.Layout#RAGGED_ROWS}
     * @param b {@link GroupedOperand.Layout#STACKED}
     * @param c [R, N]; rows beyond the last offset stay untouched
     */
    void multiplyGrouped(GroupedOperand a, GroupedOperand b, Tensor c);

    /**
     * {@link #multiplyGrouped} for a part of each group's rows; the other rows of C stay untouched, and those of A need not
     * be there yet.
     *
     * @param a not quantized
     */
    void multiplyGroupedPart(GroupedOperand a, RowPart part, GroupedOperand b, Tensor c);

    /**
     * C_g (+)= A_g * B_g^T, summed over the group's tokens; an empty group contributes zero.
     *
     * @param a {@link GroupedOperand.Layout#RAGGED_DEPTH}
     * @param b {@link GroupedOperand.Layout#RAGGED_DEPTH}
     * @param c [G, M, N]
     */
    default void multiplyGroupedDepth(GroupedOperand a, GroupedOperand b, Tensor c, boolean accumulate) {
        multiplyGroupedDepth(a, b, c, accumulate, null);
    }

    /**
     * The same, with the squared norm of each group's result, as {@link OptimizerOps#addSquaredNorm} finds it, while the
     * result is at hand.
     *
     * @param squares FP32 [G], written; null = not wanted. Only without accumulating
     */
    void multiplyGroupedDepth(
            GroupedOperand a, GroupedOperand b, Tensor c, boolean accumulate, @Nullable Tensor squares);
}
