package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.Philox4x32;
import org.jspecify.annotations.Nullable;

/**
 * The random bytes of one stochastically rounded matrix [rows, cols]; see {@link io.fourfold.kernels.op.RandomStream}
 * for the rule. Byte b of a Philox block is byte b % 4, lowest first, of word b / 4.
 *
 * @param tensorId stream number of the matrix, with the group's global index added where there are groups
 * @param copy 0 for an operand by rows, 1 for one by columns
 * @param rowIds global row numbers, row r's at {@code rowIds[firstRow + r]}; null when row r's is firstRow + r
 * @param columnGroups what stands for column / 16 in the counter; null = that itself
 * @param rows rows of the source; a row of Hadamard padding p rows behind the last one has the id -1 - p
 */
public record StochasticBits(
        long seed,
        int step,
        int tensorId,
        int copy,
        int @Nullable [] rowIds,
        int firstRow,
        int rows,
        int @Nullable [] columnGroups) {
    /** Elements that share one Philox block. */
    public static final int GROUP = 16;

    /** Bits of whole rows. */
    public StochasticBits(
            long seed, int step, int tensorId, int copy, int @Nullable [] rowIds, int firstRow, int rows) {
        this(seed, step, tensorId, copy, rowIds, firstRow, rows, null);
    }

    /** The random byte (0..255) of element (row, col). */
    public int byteAt(int row, int col) {
        int[] words = new int[4];
        block(row, col / GROUP, words, 0);
        int b = col % GROUP;
        return (words[b / 4] >>> (8 * (b % 4))) & 0xFF;
    }

    /** Words for columns 0 .. cols-1 of a row; the byte of column c is {@code words[c / 4] >>> 8 * (c % 4)}. */
    void fillRow(int row, int cols, int[] words) {
        int id = rowId(row);
        for (int group = 0; group * GROUP < cols; group++) {
            Philox4x32.generate(
                    columnGroup(group),
                    id,
                    tensorId * 2 + copy,
                    step,
                    (int) seed,
                    (int) (seed >>> 32),
                    words,
                    group * 4);
        }
    }

    private void block(int row, int group, int[] words, int at) {
        Philox4x32.generate(
                columnGroup(group), rowId(row), tensorId * 2 + copy, step, (int) seed, (int) (seed >>> 32), words, at);
    }

    private int columnGroup(int group) {
        return columnGroups == null ? group : columnGroups[group];
    }

    private int rowId(int row) {
        if (row >= rows) {
            return -1 - (row - rows);
        }
        return rowIds == null ? firstRow + row : rowIds[firstRow + row];
    }
}
