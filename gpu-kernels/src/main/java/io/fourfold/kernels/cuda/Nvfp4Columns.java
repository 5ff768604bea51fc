package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * An NVFP4 operand by columns as it is kept for backward: 4.5 bits an element. For each block of 16 rows and each column
 * eight bytes of E2M1 codes, the first row in the lowest four bits, and one E4M3 scale; so blocks can be written and read in
 * the order of the rows, whatever their number in a group. {@link io.fourfold.kernels.quant.PackedMatrix} holds the same codes
 * with K contiguous.
 *
 * @param codes INT32 [blocks * cols * 2]
 * @param scales bytes [blocks, cols] in INT32 words
 * @param blocks blocks of 16 rows, at most
 * @param groups 1 for a whole matrix
 * @param padded INT32 [groups + 1] first rows of the groups' blocks; null for a whole matrix
 */
record Nvfp4Columns(
        CudaTensor codes,
        CudaTensor scales,
        int blocks,
        int cols,
        int groups,
        @Nullable CudaTensor padded) {

    private static final int COLUMNS_PER_BLOCK = 512;

    static Nvfp4Columns allocate(int blocks, int cols, int groups, @Nullable CudaTensor padded, TensorScope scope) {
        long bytes = (long) blocks * cols;
        return new Nvfp4Columns(
                CudaTensor.of(scope.allocate(DType.INT32, Shape.flat(bytes * 2))),
                CudaTensor.of(scope.allocate(DType.INT32, Shape.flat((bytes + 3) / 4))),
                blocks,
                cols,
                groups,
                padded);
    }

    /** Code times scale as BF16 [16 * blocks, cols], exact. */
    CudaTensor decoded(CudaRuntime cuda, TensorScope work) {
        CudaTensor values = CudaTensor.of(work.allocate(DType.BF16, Shape.of(blocks * 16, cols)));
        cuda.function("nvfp4_fused", "nvfp4_decode_columns")
                .launch(
                        blocks,
                        CudaArguments.blocks(cols, COLUMNS_PER_BLOCK),
                        1,
                        COLUMNS_PER_BLOCK / 2,
                        0,
                        codes,
                        scales,
                        cols,
                        CudaFunction.orNull(padded),
                        groups,
                        values);
        return values;
    }
}
