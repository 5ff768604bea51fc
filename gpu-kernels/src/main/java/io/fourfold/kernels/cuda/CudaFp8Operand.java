package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;

/**
 * A dense operand for FP8 tensor cores: E4M3 codes as bytes, K contiguous.
 *
 * @param depth dot-product length
 * @param codes bytes [rows, stride] in INT32 words, zeros from {@code depth} to {@code stride}
 * @param stride bytes of a row of codes, a multiple of 16
 * @param byColumns made from the transpose of its source
 * @param scale FP32: [1], factor of the finished product; vectors of 128: [ceil(depth / 128), rows]; squares of 128: [ceil(rows /
 *     128), ceil(depth / 128)]
 */
record CudaFp8Operand(
        OperandSpec spec, int rows, int depth, CudaTensor codes, int stride, boolean byColumns, CudaTensor scale)
        implements GemmOperand {}
