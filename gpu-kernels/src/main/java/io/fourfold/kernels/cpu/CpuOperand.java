package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.Shape;

/**
 * An operand of the CPU backend: plain values, and one factor for the whole tensor. A quantized operand holds
 * {@code code * block scale} for every element, which BF16 represents exactly (FP4) or FP32 (FP8 blocks), so that the
 * product of the values, times both tensor scales, is the product of the quantized operands.
 *
 * @param depth dot-product length, including the padding that a Hadamard transform adds
 * @param values [rows, depth], or [depth, rows] when {@code depthMajor}
 * @param depthMajor the storage has K as its outer dimension (an operand by columns: nothing is ever transposed)
 * @param tensorScale factor of all values; 1 for plain operands
 */
record CpuOperand(OperandSpec spec, int rows, int depth, CpuTensor values, boolean depthMajor, float tensorScale)
        implements GemmOperand {

    static CpuOperand of(GemmOperand operand) {
        if (operand instanceof CpuOperand cpu) {
            return cpu;
        }
        throw new IllegalArgumentException("not an operand of the CPU backend: " + operand);
    }

    /** Rows {@code from .. to} of an operand stored by rows. */
    CpuOperand rows(int from, int to) {
        if (depthMajor) {
            throw new IllegalArgumentException("rows of an operand stored by columns");
        }
        return new CpuOperand(
                spec,
                to - from,
                depth,
                values.view((long) from * depth, Shape.of(to - from, depth)),
                false,
                tensorScale);
    }

    /** Distance in elements between two outer rows of the storage. */
    int leadingDimension() {
        return depthMajor ? rows : depth;
    }
}
