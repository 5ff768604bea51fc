package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.quant.Nvfp4Layout;

/**
 * An NVFP4 operand for FP4 tensor cores: codes and scales as {@link Nvfp4Layout} places them.
 *
 * @param depth K, including the padding of a Hadamard transform
 * @param codes bytes in INT32 words
 * @param scales bytes in INT32 words
 * @param scale FP32 [1], factor of the finished product
 */
record CudaFp4Operand(OperandSpec spec, int rows, int depth, CudaTensor codes, CudaTensor scales, CudaTensor scale)
        implements GemmOperand {

    Nvfp4Layout places() {
        return Nvfp4Layout.equal(1, rows, depth);
    }
}
