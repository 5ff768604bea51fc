package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * A grouped operand by columns (RAGGED_DEPTH) kept as codes and scales; a product decodes it into workspace.
 *
 * @param scale FP32 [groups], factors of the finished products
 */
record CudaPackedGroupedOperand(OperandSpec spec, Nvfp4Columns columns, CudaTensor scale) implements GroupedOperand {

    @Override
    public Layout layout() {
        return Layout.RAGGED_DEPTH;
    }

    @Override
    public int groups() {
        return columns.groups();
    }

    /** As values in {@code work}. */
    CudaGroupedOperand decoded(CudaRuntime cuda, TensorScope work) {
        return new CudaGroupedOperand(
                Layout.RAGGED_DEPTH,
                spec,
                columns.groups(),
                columns.decoded(cuda, work),
                columns.cols(),
                0,
                true,
                columns.padded(),
                true,
                scale);
    }
}
