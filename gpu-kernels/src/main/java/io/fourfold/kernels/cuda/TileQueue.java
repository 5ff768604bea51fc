package io.fourfold.kernels.cuda;

/**
 * How the kernels of {@code quantize/tile_queue.cuh} walk a matrix in groups: large groups in wide tiles, one after the other;
 * groups of which some fit the L2 cache in narrower tiles, the amax of the next groups ahead of a group's values, so that no
 * warp waits and the second read is served by the cache.
 *
 * @param strip columns of a tile of 16 rows
 * @param ahead groups by which the first pass leads
 * @param grid blocks of 8 warps
 */
record TileQueue(int strip, int ahead, int grid) {
    static final int MOST_GROUPS = 1024;
    /** Words of a QueueState: two counters, tiles done by group, and two amax by group. */
    static final int STATE_WORDS = 2 + 3 * MOST_GROUPS;
    /** Where the amax by rows begin; those by columns follow. */
    static final int AMAX_WORD = 2 + MOST_GROUPS;

    private static final int WARPS = 8;
    /** Blocks of a multiprocessor. */
    private static final int RESIDENT = 3;

    private static final int WIDE = 512;
    private static final int NARROW = 256;
    private static final long SMALL_GROUP = 16L << 20;
    private static final int SMALL_AHEAD = 3;

    /** @param passes 1 when the amax are known */
    static TileQueue of(CudaRuntime cuda, CudaTensor x, RowGroups groups, int passes) {
        int cols = x.shape().cols();
        boolean small = groups.count() > 1 && x.bytes() / groups.count() <= SMALL_GROUP;
        int strip = small ? NARROW : WIDE;
        long tiles = (long) passes * groups.maxBlocks() * CudaArguments.blocks(cols, strip);
        long most = (long) cuda.device().multiprocessors() * RESIDENT;
        int grid = (int) Math.max(1, Math.min(most, (tiles + WARPS - 1) / WARPS));
        return new TileQueue(strip, small ? SMALL_AHEAD : 1, grid);
    }
}
