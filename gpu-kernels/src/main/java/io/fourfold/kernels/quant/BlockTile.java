package io.fourfold.kernels.quant;

import io.fourfold.kernels.op.OperandSpec;

/** The extent of one scale block in a matrix, rows by columns. */
record BlockTile(int rows, int cols) {

    /** In the operand's own orientation, columns = K. A tensor-wide scale counts as tiles of a row's 128 elements. */
    static BlockTile ofOperand(OperandSpec spec) {
        return switch (spec.blocks()) {
            case B1X16 -> new BlockTile(1, 16);
            case B16X16 -> new BlockTile(16, 16);
            case B1X32 -> new BlockTile(1, 32);
            case B1X128, TENSOR -> new BlockTile(1, 128);
            case B128X128 -> new BlockTile(128, 128);
            case NONE -> throw new IllegalArgumentException(spec.format() + " has no blocks");
        };
    }

    /** In the source's orientation. */
    static BlockTile ofSource(OperandSpec spec, boolean byColumns) {
        BlockTile tile = ofOperand(spec);
        return byColumns && spec.blocks() != OperandSpec.Blocks.TENSOR ? new BlockTile(tile.cols, tile.rows) : tile;
    }

    int rowCount(int matrixRows) {
        return (matrixRows + rows - 1) / rows;
    }

    int colCount(int matrixCols) {
        return (matrixCols + cols - 1) / cols;
    }
}
