package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * An operand by columns kept as codes and scales; a product decodes it into workspace.
 *
 * @param scale FP32 [1], factor of the finished product
 */
record CudaPackedOperand(OperandSpec spec, Nvfp4Columns columns, CudaTensor scale) implements GemmOperand {

    @Override
    public int rows() {
        return columns.cols();
    }

    @Override
    public int depth() {
        return columns.blocks() * 16;
    }

    /** As values in {@code work}. */
    CudaOperand decoded(CudaRuntime cuda, TensorScope work) {
        return new CudaOperand(spec, rows(), depth(), columns.decoded(cuda, work), true, scale);
    }
}
