package io.fourfold.kernels.quant;

import java.util.Arrays;

/**
 * Largest magnitudes of the scale blocks of a matrix, found in one pass. Magnitudes are compared as the integers of their
 * bits, which have the same order, with infinity and NaN on top: neither is lost.
 */
final class BlockAmax {
    private static final int MAGNITUDE = 0x7FFF_FFFF;

    private BlockAmax() {}

    /**
     * Writes [tile rows, tile columns] magnitudes to {@code out} and returns the largest, NaN if there is one.
     */
    static float find(float[] x, int offset, int rows, int cols, BlockTile tile, float[] out) {
        int blockCols = tile.colCount(cols);
        int blocks = tile.rowCount(rows) * blockCols;
        Arrays.fill(out, 0, blocks, 0f);
        for (int r = 0; r < rows; r++) {
            int to = r / tile.rows() * blockCols;
            if (tile.cols() == 1) {
                maxInto(x, offset + r * cols, cols, out, to);
            } else {
                rowBlocks(x, offset + r * cols, cols, tile.cols(), out, to);
            }
        }
        return largest(out, 0, blocks);
    }

    private static void maxInto(float[] x, int at, int cols, float[] out, int to) {
        for (int c = 0; c < cols; c++) {
            out[to + c] = Math.max(out[to + c], Math.abs(x[at + c]));
        }
    }

    private static void rowBlocks(float[] x, int at, int cols, int width, float[] out, int to) {
        for (int c = 0, block = to; c < cols; c += width, block++) {
            out[block] = Math.max(out[block], largest(x, at + c, at + Math.min(cols, c + width)));
        }
    }

    private static float largest(float[] x, int from, int to) {
        int bits = 0;
        for (int i = from; i < to; i++) {
            bits = Math.max(bits, Float.floatToRawIntBits(x[i]) & MAGNITUDE);
        }
        return Float.intBitsToFloat(bits);
    }
}
