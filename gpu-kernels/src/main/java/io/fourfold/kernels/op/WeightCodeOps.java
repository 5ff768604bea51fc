package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * NVFP4 codes of weights with one scale for 16 x 16 elements, made where the weights are updated and sent instead of them.
 * Their operands are bit for bit those that {@link QuantizeOps} makes of the weights themselves.
 *
 * <p>Matrices have whole tiles and are coded in strips of 16 rows. A strip of K columns is a list of 32-bit words: two for
 * each column, the E2M1 codes of its 16 rows with the first one in the lowest four bits; then a byte for each tile, its E4M3
 * scale, lowest byte first, in units of four words. The strips of a matrix follow each other, as do stacked matrices.
 */
public interface WeightCodeOps {
    /** Rows of a strip, and rows and columns of a tile. */
    int TILE = 16;

    /** Scale bytes come in units of so many words, so that every strip begins aligned. */
    int SCALE_WORDS = 4;

    /** Words of a strip of {@code cols} columns. */
    static int stripWords(int cols) {
        int unit = SCALE_WORDS * Integer.BYTES;
        return 2 * cols + (cols / TILE + unit - 1) / unit * SCALE_WORDS;
    }

    /**
     * Writes the largest magnitude of some ranges together; infinity where a value is not finite, zero without ranges.
     *
     * @param values FP32
     * @param bounds first and end element of each range; the same array every time, unchanged
     * @param places element of {@code largest} that each range belongs to, [bounds.length / 2]; likewise
     * @param largest FP32
     */
    void largest(Tensor values, long[] bounds, int[] places, Tensor largest);

    /**
     * Codes whole strips of stacked matrices.
     *
     * @param values FP32 [strips * 16, cols]
     * @param firstRow of the strips, among the rows of all matrices
     * @param matrixRows rows of each matrix
     * @param spec NVFP4 in blocks of 16 x 16, rounded to nearest
     * @param amax FP32, the largest magnitude of each matrix, all its parts on other ranks included
     * @param words INT32 [strips * stripWords(cols)]
     */
    void encode(Tensor values, int firstRow, int matrixRows, OperandSpec spec, Tensor amax, Tensor words);

    /**
     * Operands by rows and by columns of one matrix.
     *
     * @param words INT32, all its strips
     * @param amax FP32 [1]
     */
    OperandPair<GemmOperand> operands(
            Tensor words, int rows, int cols, Tensor amax, OperandCopy byRows, OperandCopy byColumns);

    /**
     * The same of stacked matrices.
     *
     * @param amax FP32 [matrices]
     */
    OperandPair<GroupedOperand> stacked(
            Tensor words, int rows, int cols, Tensor amax, OperandCopy byRows, OperandCopy byColumns);

    /** Throws unless weights of that kind can be coded. */
    static void check(OperandSpec spec) {
        if (!coded(spec)) {
            throw new IllegalArgumentException(
                    "weights are coded as NVFP4 in blocks of 16 x 16, rounded to nearest; asked for " + spec);
        }
    }

    /** Whether operands of this kind can be made of codes, the same by rows and by columns. */
    static boolean coded(OperandSpec spec) {
        return spec.format() == OperandSpec.Format.NVFP4
                && spec.blocks() == OperandSpec.Blocks.B16X16
                && spec.rounding() == OperandSpec.Rounding.NEAREST_EVEN
                && !spec.hadamard();
    }
}
