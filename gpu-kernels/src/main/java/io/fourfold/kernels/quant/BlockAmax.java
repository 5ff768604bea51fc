package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.FloatBits;
import java.util.Arrays;

/**
 * Largest magnitudes of the scale blocks of a matrix, found in one pass. Magnitudes are compared as the integers of their
 * bits, which have the same order, with infinity and NaN on top: neither is lost.
 */
final class BlockAmax {
    private static final int MAGNITUDE = 0x7FFF_FFFF;

    private final FloatBits move = new FloatBits();
    private final int[] bits = new int[FloatBits.LANES];
    private final int[] largest = new int[FloatBits.LANES];

    /**
     * Writes [tile rows, tile columns] magnitudes to {@code out} and returns the largest, NaN if there is one.
     */
    float find(float[] x, int offset, int rows, int cols, BlockTile tile, float[] out) {
        int blockCols = tile.colCount(cols);
        int blocks = tile.rowCount(rows) * blockCols;
        if (tile.cols() == 1) {
            for (int r = 0; r < rows; r += tile.rows()) {
                int present = Math.min(tile.rows(), rows - r);
                columnBlocks(x, offset + r * cols, present, cols, out, r / tile.rows() * cols);
            }
        } else {
            Arrays.fill(out, 0, blocks, 0f);
            for (int r = 0; r < rows; r++) {
                rowBlocks(x, offset + r * cols, cols, tile.cols(), out, r / tile.rows() * blockCols);
            }
        }
        return largest(out, 0, blocks);
    }

    /** One block per column: the rows are taken in turn, many columns at a time. */
    private void columnBlocks(float[] x, int at, int rows, int cols, float[] out, int to) {
        for (int c = 0; c < cols; c += FloatBits.LANES) {
            int count = Math.min(FloatBits.LANES, cols - c);
            Arrays.fill(largest, 0, count, 0);
            for (int r = 0; r < rows; r++) {
                move.toBits(x, at + r * cols + c, bits, count);
                maxInto(largest, bits, count);
            }
            move.toFloats(largest, out, to + c, count);
        }
    }

    /** Without Math.max, which the JIT turns into scalar moves here. */
    private static void maxInto(int[] largest, int[] bits, int count) {
        for (int c = 0; c < count; c++) {
            int ahead = largest[c] - (bits[c] & MAGNITUDE);
            largest[c] -= ahead & (ahead >> 31);
        }
    }

    /** One block per {@code width} columns of a row; scalar code, which beats vectorized ways to fold 16 neighbours. */
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
