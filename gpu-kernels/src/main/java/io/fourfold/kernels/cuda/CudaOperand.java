package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import org.jspecify.annotations.Nullable;

/**
 * An operand of the CUDA backend: values in the layout of their source, and one factor for the whole tensor in device
 * memory. A quantized operand holds {@code code * block scale} for every element.
 *
 * @param depth dot-product length, including the padding that a Hadamard transform adds
 * @param values [rows, depth], or [depth, rows] when {@code depthMajor}
 * @param depthMajor the storage has K as its outer dimension (an operand by columns: nothing is ever transposed)
 * @param scale FP32 [1], factor of the finished product; null = 1
 */
record CudaOperand(
        OperandSpec spec,
        int rows,
        int depth,
        CudaTensor values,
        boolean depthMajor,
        @Nullable CudaTensor scale) implements GemmOperand {

    static CudaOperand of(GemmOperand operand) {
        if (operand instanceof CudaOperand cuda) {
            return cuda;
        }
        throw new IllegalArgumentException("not an operand of the CUDA backend: " + operand);
    }
}
