package io.fourfold.kernels.op;

/**
 * How token rows are packed for the way to their experts. Every row has scales of its own that are powers of two or
 * multiplied with one, so unpacking is exact in BF16 and a row's codes do not depend on which rows it travels with.
 *
 * <p>A packed row is a list of 32-bit words, lowest byte first, the lower nibble first:
 *
 * <ul>
 *   <li>FP8: E4M3 codes, then a UE8M0 byte for each 128 columns: 2^ceil(log2(amax / 448)).
 *   <li>NVFP4: E2M1 codes, then an E4M3 byte for each 16 columns as in docs/numerics.md, then 1/S as FP32 bits with S =
 *       2^floor(log2(2688 / amax of the row)).
 * </ul>
 *
 * <p>A row with a value that is not finite unpacks to NaN throughout its block (FP8) or throughout (NVFP4).
 */
public enum RowFormat {
    FP8(4, 128, 0),
    NVFP4(8, 16, 1);

    private static final int BYTES = 4;

    private final int codesPerWord;
    private final int block;
    private final int rowScales;

    RowFormat(int codesPerWord, int block, int rowScales) {
        this.codesPerWord = codesPerWord;
        this.block = block;
        this.rowScales = rowScales;
    }

    /** Columns that share a scale byte. */
    public int block() {
        return block;
    }

    /** Words of the codes of a row of {@code cols} columns. */
    public int codeWords(int cols) {
        return divideUp(cols, codesPerWord);
    }

    /** Words of a whole packed row. */
    public int words(int cols) {
        return codeWords(cols) + divideUp(divideUp(cols, block), BYTES) + rowScales;
    }

    private static int divideUp(int size, int unit) {
        return (size + unit - 1) / unit;
    }
}
