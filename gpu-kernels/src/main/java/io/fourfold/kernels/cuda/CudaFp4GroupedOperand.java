package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.quant.Nvfp4Layout;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A grouped NVFP4 operand for FP4 tensor cores: codes and scales as {@link Nvfp4Layout} places them.
 *
 * @param width rows of each group's matrix (STACKED, RAGGED_DEPTH); 0 for RAGGED_ROWS
 * @param depth K (STACKED, RAGGED_ROWS); 0 for RAGGED_DEPTH
 * @param codes bytes in INT32 words
 * @param scales bytes in INT32 words
 * @param offsets INT32 [groups + 1] rows of the source where the groups begin (ragged); null for STACKED
 * @param scale FP32 [groups], factors of the finished products
 */
record CudaFp4GroupedOperand(
        Layout layout,
        OperandSpec spec,
        int groups,
        int width,
        int depth,
        CudaTensor codes,
        CudaTensor scales,
        @Nullable CudaTensor offsets,
        CudaTensor scale)
        implements GroupedOperand {

    /** Where the groups lie; waits for the GPU when the operand is ragged, for the host must know the sizes. */
    Nvfp4Layout places(CudaMemory memory) {
        return switch (layout) {
            case STACKED -> Nvfp4Layout.equal(groups, width, depth);
            case RAGGED_ROWS -> Nvfp4Layout.raggedRows(memory.downloadInts(Objects.requireNonNull(offsets)), depth);
            case RAGGED_DEPTH -> Nvfp4Layout.raggedDepth(memory.downloadInts(Objects.requireNonNull(offsets)), width);
        };
    }
}
