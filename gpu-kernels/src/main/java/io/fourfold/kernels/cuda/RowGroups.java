package io.fourfold.kernels.cuda;

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

    static RowGroups equal(int count, int rows) {
        return new RowGroups(count, rows, Math.multiplyExact(count, rows), null, null, null);
    }

    /** Blocks of 16 rows at most; each group's last one may be short. */
    int maxBlocks() {
        return offsets == null ? count * ((rows + 15) / 16) : totalRows / 16 + count;
    }
}
