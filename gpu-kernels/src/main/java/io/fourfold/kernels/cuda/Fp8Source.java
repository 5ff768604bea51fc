package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.DType;
import org.jspecify.annotations.Nullable;

/**
 * A matrix that becomes FP8 operands, cut into tiles of 128 x 128 that begin at each group's first row.
 *
 * @param x [groups.totalRows, cols], FP32 or BF16
 * @param stride bytes of a row of codes in the copy by columns
 * @param starts INT32 [groups + 1] where ragged groups begin in the copy by columns; null for equal groups
 */
record Fp8Source(
        CudaTensor x,
        int cols,
        RowGroups groups,
        int stride,
        @Nullable CudaTensor starts) {
    static final int TILE = 128;
    /** Rows of codes are whole 16-byte units. */
    static final int UNIT = 16;

    static Fp8Source equal(CudaTensor x, int cols, RowGroups groups, int stride) {
        return new Fp8Source(x, cols, groups, stride, null);
    }

    /** A bound on all groups' rows when each is padded to tiles. */
    static int paddedRows(RowGroups groups) {
        return roundUp(Math.addExact(groups.totalRows(), Math.multiplyExact(TILE, groups.count())), TILE);
    }

    /** Tiles along the rows. */
    int tiles() {
        return groups.offsets() == null ? groups.count() * ceil(groups.rows(), TILE) : stride / TILE;
    }

    int columnTiles() {
        return ceil(cols, TILE);
    }

    /** Bytes of the copy by rows. */
    long rowBytes() {
        return (long) groups.totalRows() * cols;
    }

    /** Bytes of the copy by columns. */
    long columnBytes() {
        return (long) cols * stride * (groups.offsets() == null ? groups.count() : 1);
    }

    Object offsets() {
        return CudaFunction.orNull(groups.offsets());
    }

    /** Ending of the names of kernels that read x. */
    String suffix() {
        return x.dtype() == DType.FP32 ? "_fp32" : "_bf16";
    }

    /** Factors of an operand, and those behind them that products read and do not use (grouped_gemm_fp8_sm90a.cu). */
    int scales(OperandSpec spec, boolean byColumns) {
        return switch (spec.blocks()) {
            case TENSOR -> groups.count();
            case B1X128 ->
                TILE
                        + (byColumns
                                ? Math.multiplyExact(tiles(), cols)
                                : Math.multiplyExact(columnTiles(), groups.totalRows()));
            case B128X128 -> Math.multiplyExact(tiles() + 1, columnTiles() + 1);
            case NONE, B1X16, B16X16, B1X32 -> throw new IllegalArgumentException("no FP8 operand: " + spec);
        };
    }

    static int ceil(int size, int unit) {
        return (size + unit - 1) / unit;
    }

    static int roundUp(int size, int unit) {
        return Math.multiplyExact(ceil(size, unit), unit);
    }
}
