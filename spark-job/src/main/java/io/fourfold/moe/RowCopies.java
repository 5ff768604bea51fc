package io.fourfold.moe;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Expert rows that are copies of this rank's tokens, as {@link MoeOps#spreadRows} makes them.
 *
 * @param slotOfRow INT32 [rows], -1 for a row of zeros
 * @param topK copies of a token
 */
public record RowCopies(Tensor slotOfRow, int topK) {
    /** Both operands of the rows of tokens x [T, C]; null, with nothing done, where the rows have to be made first. */
    public @Nullable OperandPair<GroupedOperand> operands(
            QuantizeOps ops,
            Tensor x,
            Tensor offsets,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        return ops.spreadPair(x, slotOfRow, topK, offsets, rows, columns, exchange);
    }
}
