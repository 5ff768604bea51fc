package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * How the rows of a matrix are divided, as the kernels of {@code quantize/groups.cuh} take it.
 *
 * @param count groups
 * @param rows rows of each group when they are equal; 0 when offsets divide them
 * @param totalRows rows of the matrix
 * @param offsets INT32 [count + 1] first rows; null for equal groups
 * @param blocks INT32 [count + 1] blocks of 16 rows before each group; null where not needed
 * @param paddedOffsets INT32 [count + 1], 16 * blocks
 */
record RowGroups(
        int count,
        int rows,
        int totalRows,
        @Nullable CudaTensor offsets,
        @Nullable CudaTensor blocks,
        @Nullable CudaTensor paddedOffsets) {

    private static final int MAX_GROUPS = 1024;

    static RowGroups equal(int count, int rows) {
        return new RowGroups(count, rows, Math.multiplyExact(count, rows), null, null, null);
    }

    /** Groups split by offsets [count + 1]; with the blocks of 16 rows counted on the device where kernels need them. */
    static RowGroups ragged(
            CudaRuntime cuda, CudaTensor offsets, int count, int rows, boolean needsBlocks, TensorScope scope) {
        if (!needsBlocks) {
            return new RowGroups(count, 0, rows, offsets, null, null);
        }
        if (count > MAX_GROUPS) {
            throw new IllegalArgumentException("at most " + MAX_GROUPS + " experts per rank, got " + count);
        }
        CudaTensor lists = CudaTensor.of(scope.allocate(DType.INT32, 2, count + 1));
        CudaTensor blocks = lists.view(0, Shape.of(count + 1));
        CudaTensor padded = lists.view(count + 1, Shape.of(count + 1));
        cuda.function("nvfp4_emulate", "group_blocks").launchLine(1, MAX_GROUPS, offsets, count, blocks, padded);
        return new RowGroups(count, 0, rows, offsets, blocks, padded);
    }

    /** Blocks of 16 rows at most; each group's last one may be short. */
    int maxBlocks() {
        return offsets == null ? count * ((rows + 15) / 16) : totalRows / 16 + count;
    }
}
