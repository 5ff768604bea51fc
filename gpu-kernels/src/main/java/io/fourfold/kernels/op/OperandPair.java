package io.fourfold.kernels.op;

/**
 * The two operands of one matrix.
 *
 * @param <O> kind of operand
 */
public record OperandPair<O>(O byRows, O byColumns) {}
