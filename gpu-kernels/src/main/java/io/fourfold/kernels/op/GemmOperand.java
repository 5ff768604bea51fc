package io.fourfold.kernels.op;

/**
 * One operand of C = A * B^T: a matrix of {@code rows} by {@code depth}, where depth is the dot-product dimension K along
 * which block scales run. Made by {@link QuantizeOps}, consumed by {@link GemmOps}; what it holds (plain values, codes
 * and scales) is the backend's affair. Valid while the scope it was made in is open.
 */
public interface GemmOperand {
    int rows();

    int depth();

    OperandSpec spec();
}
