package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Prepares GEMM operands: rounding, quantization, transform, transposition. <em>By rows</em> means the matrix itself,
 * K = columns. <em>By columns</em> means its transpose, K = rows. A plain BF16 or FP32 operand may share the memory of its
 * source, so the source must stay unchanged while the operand is used. Numerics: docs/numerics.md, bit-exact on every
 * backend.
 */
public interface QuantizeOps {
    /**
     * @param x [rows, cols], FP32 or BF16
     * @param byColumns false: operand [rows, cols], K = cols; true: operand [cols, rows], K = rows
     * @param random needed when spec rounds stochastically
     * @param probe receives telemetry when not null
     * @param exchange for a part of a split tensor, where the format has a scale for the whole tensor; null = x is whole
     */
    GemmOperand operand(
            Tensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope);

    /** {@link #operand} of a whole tensor. */
    default GemmOperand operand(
            Tensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            TensorScope scope) {
        return operand(x, byColumns, spec, random, probe, null, scope);
    }

    /**
     * Stacked weights [G, rows, cols]; each group by rows or by columns as above.
     *
     * @param exchange as above, of all groups' amax at once
     */
    GroupedOperand stacked(
            Tensor weights,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope);

    /** {@link #stacked} of whole tensors. */
    default GroupedOperand stacked(
            Tensor weights, boolean byColumns, OperandSpec spec, @Nullable QuantProbe probe, TensorScope scope) {
        return stacked(weights, byColumns, spec, probe, null, scope);
    }

    /**
     * The operand by columns of a matrix whose operand by rows is there: the same memory where both see the same values,
     * as with square blocks, and otherwise a new operand.
     *
     * @param byRows made by {@link #operand} from x with {@code rowSpec}
     */
    default GemmOperand columnsOf(
            GemmOperand byRows,
            OperandSpec rowSpec,
            Tensor x,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        return operand(x, true, spec, null, probe, exchange, scope);
    }

    /** As {@link #columnsOf(GemmOperand, OperandSpec, Tensor, OperandSpec, QuantProbe, AmaxExchange,
     * TensorScope)} for stacked weights. */
    default GroupedOperand columnsOf(
            GroupedOperand byRows,
            OperandSpec rowSpec,
            Tensor weights,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        return stacked(weights, true, spec, probe, exchange, scope);
    }

    /**
     * Tokens [R, cols] split by offsets. By rows gives RAGGED_ROWS, by columns RAGGED_DEPTH; blocks along the tokens
     * start at each group's first row, and the last block of a group is padded with zeros.
     *
     * @param offsets INT32 [G+1]
     * @param firstGroup global index of group 0 (expert parallelism), for the random stream
     * @param exchange as above, of all groups' amax at once
     */
    GroupedOperand ragged(
            Tensor x,
            Tensor offsets,
            boolean byColumns,
            OperandSpec spec,
            int firstGroup,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope);

    /** {@link #ragged} of whole tensors. */
    default GroupedOperand ragged(
            Tensor x,
            Tensor offsets,
            boolean byColumns,
            OperandSpec spec,
            int firstGroup,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            TensorScope scope) {
        return ragged(x, offsets, byColumns, spec, firstGroup, random, probe, null, scope);
    }

    /**
     * Both {@link #operand operands} of a matrix, from one read of it where the backend can. It may store what is
     * {@linkplain OperandCopy#kept() kept} in fewer bytes.
     *
     * @param exchange as above, called for each operand that has a scale for the whole tensor, or once for both
     * @param amax FP32 [1], the largest magnitude of x where it is known, so that it need not be looked for; the exchange is called
     *     all the same and may change it
     */
    default OperandPair<GemmOperand> operandPair(
            Tensor x, OperandCopy rows, OperandCopy columns, @Nullable AmaxExchange exchange, @Nullable Tensor amax) {
        return new OperandPair<>(
                operand(x, false, rows.spec(), rows.random(), rows.probe(), exchange, rows.scope()),
                operand(x, true, columns.spec(), columns.random(), columns.probe(), exchange, columns.scope()));
    }

    /** The same of a matrix whose largest magnitude is not known. */
    default OperandPair<GemmOperand> operandPair(
            Tensor x, OperandCopy rows, OperandCopy columns, @Nullable AmaxExchange exchange) {
        return operandPair(x, rows, columns, exchange, null);
    }

    /**
     * Both operands of a weight, which live equally long and may share memory; nothing in them is random.
     *
     * @param amax as above
     */
    default OperandPair<GemmOperand> weightPair(
            Tensor weight,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange,
            @Nullable Tensor amax) {
        GemmOperand byRows = operand(weight, false, rows.spec(), null, rows.probe(), exchange, rows.scope());
        return new OperandPair<>(
                byRows,
                columnsOf(byRows, rows.spec(), weight, columns.spec(), columns.probe(), exchange, columns.scope()));
    }

    /**
     * {@link #weightPair} of {@link #stacked} weights.
     *
     * @param amax as above, FP32 [G]
     */
    default OperandPair<GroupedOperand> stackedPair(
            Tensor weights,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange,
            @Nullable Tensor amax) {
        GroupedOperand byRows = stacked(weights, false, rows.spec(), rows.probe(), exchange, rows.scope());
        return new OperandPair<>(
                byRows,
                columnsOf(byRows, rows.spec(), weights, columns.spec(), columns.probe(), exchange, columns.scope()));
    }

    /** Both operands of {@link #ragged} tokens. */
    default OperandPair<GroupedOperand> raggedPair(
            Tensor x,
            Tensor offsets,
            int firstGroup,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        return new OperandPair<>(
                ragged(x, offsets, false, rows.spec(), firstGroup, rows.random(), rows.probe(), exchange, rows.scope()),
                ragged(
                        x,
                        offsets,
                        true,
                        columns.spec(),
                        firstGroup,
                        columns.random(),
                        columns.probe(),
                        exchange,
                        columns.scope()));
    }

    /**
     * Both operands by rows and columns of {@link MoeOps#activation activation(in) * probability}, which is never stored.
     *
     * @param in [R, width * kind.inputFactor()]
     * @param exchange as above, of all groups' amax at once
     * @return null where the backend has no such way for these operands
     */
    default @Nullable OperandPair<GroupedOperand> activatedPair(
            Activation kind,
            Tensor in,
            @Nullable Tensor probability,
            Tensor offsets,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        return null;
    }

    /**
     * Both operands of din, and dprobability [R], of {@link MoeOps#activationBackward}; din is never stored.
     *
     * @param exchange as above, of all groups' amax at once
     * @return null, with nothing done, where the backend has no such way for these operands
     */
    default @Nullable OperandPair<GroupedOperand> activationGradientPair(
            Activation kind,
            Tensor dout,
            Tensor in,
            @Nullable Tensor probability,
            Tensor dprobability,
            Tensor offsets,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        return null;
    }

    /**
     * Both operands of the rows that {@link MoeOps#spreadRows} makes of tokens x [T, C], without storing the rows.
     *
     * @param slotOfRow INT32 [R]: row r is token slotOfRow[r] / k, zeros where it is -1
     * @param exchange as above, of all groups' amax at once
     * @return null, with nothing done, where the backend has no such way for these operands
     */
    default @Nullable OperandPair<GroupedOperand> spreadPair(
            Tensor x,
            Tensor slotOfRow,
            int k,
            Tensor offsets,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        return null;
    }

    /** Writes the values the GEMM will see, in the operand's own orientation [rows, depth]; for tests and telemetry. */
    void dequantize(GemmOperand operand, Tensor out);
}
