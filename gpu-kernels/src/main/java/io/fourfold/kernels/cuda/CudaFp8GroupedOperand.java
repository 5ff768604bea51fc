package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import org.jspecify.annotations.Nullable;

/**
 * A grouped operand for FP8 tensor cores: E4M3 codes as bytes, K contiguous, which is all those take.
 *
 * @param codes bytes in INT32 words. STACKED [groups, width, stride]; RAGGED_ROWS [rows, depth]; RAGGED_DEPTH [width, stride],
 *     group g's tokens at {@code starts[g]} with zeros up to the next multiple of 128
 * @param rows rows of the ragged source; 0 for STACKED
 * @param width rows of each group's matrix (STACKED, RAGGED_DEPTH); 0 for RAGGED_ROWS
 * @param depth dot-product length (STACKED, RAGGED_ROWS); 0 for RAGGED_DEPTH
 * @param stride bytes of a row of codes
 * @param byColumns made from the transpose of its source
 * @param offsets INT32 [groups + 1] rows of the source where the groups begin (ragged); null for STACKED
 * @param starts INT32 [groups + 1] where padded groups begin (ragged); null for STACKED
 * @param scale FP32: [groups], factors of the finished products; vectors of 128: RAGGED_ROWS [ceil(depth / 128), rows],
 *     RAGGED_DEPTH [stride / 128, width]; squares of 128: [groups, ceil(width / 128), ceil(depth / 128)]
 */
record CudaFp8GroupedOperand(
        Layout layout,
        OperandSpec spec,
        int groups,
        CudaTensor codes,
        int rows,
        int width,
        int depth,
        int stride,
        boolean byColumns,
        @Nullable CudaTensor offsets,
        @Nullable CudaTensor starts,
        CudaTensor scale)
        implements GroupedOperand {}
