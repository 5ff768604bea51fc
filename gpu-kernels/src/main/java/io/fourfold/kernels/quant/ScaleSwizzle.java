package io.fourfold.kernels.quant;

/**
 * The order in which cuBLASLt and Blackwell's block-scaled MMA read scale bytes: [rows, blocks] is padded with zeros to
 * multiples of 128 by 4 and cut into tiles of 128x4 (512 bytes), tiles in row-major order; inside a tile, byte (r, b) is at
 * (r % 32) * 16 + (r / 32) * 4 + b. Reference: cuBLAS documentation, "1D block scaling factors layout".
 */
public final class ScaleSwizzle {
    public static final int TILE_ROWS = 128;
    public static final int TILE_BLOCKS = 4;
    private static final int TILE_BYTES = TILE_ROWS * TILE_BLOCKS;

    private ScaleSwizzle() {}

    /** Bytes of the swizzled scales of a [rows, blocks] matrix. */
    public static int size(int rows, int blocks) {
        return Math.multiplyExact(Math.multiplyExact(tiles(rows, TILE_ROWS), tiles(blocks, TILE_BLOCKS)), TILE_BYTES);
    }

    /** Position of scale (row, block) in the swizzled order. */
    public static int position(int row, int block, int blocks) {
        int tile = row / TILE_ROWS * tiles(blocks, TILE_BLOCKS) + block / TILE_BLOCKS;
        int inTile = row % TILE_ROWS;
        return tile * TILE_BYTES + inTile % 32 * 16 + inTile / 32 * 4 + block % TILE_BLOCKS;
    }

    /** Row-major scales [rows, blocks] to the swizzled order, padding with zeros. */
    public static byte[] swizzle(byte[] scales, int rows, int blocks) {
        byte[] out = new byte[size(rows, blocks)];
        for (int r = 0; r < rows; r++) {
            for (int b = 0; b < blocks; b++) {
                out[position(r, b, blocks)] = scales[r * blocks + b];
            }
        }
        return out;
    }

    /** The inverse of {@link #swizzle}; padding is dropped. */
    public static byte[] unswizzle(byte[] swizzled, int rows, int blocks) {
        byte[] out = new byte[rows * blocks];
        for (int r = 0; r < rows; r++) {
            for (int b = 0; b < blocks; b++) {
                out[r * blocks + b] = swizzled[position(r, b, blocks)];
            }
        }
        return out;
    }

    private static int tiles(int size, int tile) {
        return (size + tile - 1) / tile;
    }
}
