package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.numeric.Float8E5M2;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Quantizes and dequantizes a matrix in one go: writes {@code code * decode factor} for every element, in the source's
 * layout also for an operand by columns. Bit-equal to {@link PackingQuantizer} followed by {@link PackedMatrix#values}.
 * Keeps scratch arrays; one instance serves one thread.
 */
public final class BlockQuantizer {
    private final BlockAmax amaxFinder = new BlockAmax();
    private final ElementRounding rounding = new ElementRounding();
    private float[] blockAmax = new float[0];
    private float[] blockEncode = new float[0];
    private float[] blockDecode = new float[0];
    private float[] encode = new float[0];
    private float[] decode = new float[0];
    private float[] original = new float[0];
    private int[] words = new int[0];

    /** Rows of the output for a source of {@code rows}: whole Hadamard blocks when those run along the rows. */
    public static int storedRows(OperandSpec spec, boolean byColumns, int rows) {
        return spec.hadamard() && byColumns ? Hadamard16.roundUp(rows) : rows;
    }

    /** Columns of the output for a source of {@code cols}. */
    public static int storedCols(OperandSpec spec, boolean byColumns, int cols) {
        return spec.hadamard() && !byColumns ? Hadamard16.roundUp(cols) : cols;
    }

    /** Throws unless the combination has a meaning. */
    public static void check(OperandSpec spec, @Nullable StochasticBits random) {
        if (!spec.quantized()) {
            throw new IllegalArgumentException(spec.format() + " is not a quantized format");
        }
        if (spec.rounding() == Rounding.STOCHASTIC) {
            if (spec.format() != Format.NVFP4 && spec.format() != Format.MXFP4) {
                throw new IllegalArgumentException(
                        "stochastic rounding is defined for FP4 operands only, asked for " + spec);
            }
            if (random == null) {
                throw new IllegalArgumentException("stochastic rounding needs a random stream: " + spec);
            }
        }
        if (spec.hadamard() && (spec.blocks() == Blocks.B16X16 || spec.blocks() == Blocks.B128X128)) {
            throw new IllegalArgumentException("the Hadamard transform goes with one-dimensional blocks, asked for "
                    + spec + "; weights are not transformed");
        }
    }

    /**
     * Largest magnitude of what {@link #quantize} quantizes: of {@code x}, or of its transform where the spec has one.
     * NaN if there is one.
     */
    public float tensorAmax(float[] x, int offset, int rows, int cols, boolean byColumns, OperandSpec spec) {
        float[] from = x;
        int at = offset;
        int storedRows = storedRows(spec, byColumns, rows);
        int storedCols = storedCols(spec, byColumns, cols);
        if (spec.hadamard()) {
            from = new float[storedRows * storedCols];
            at = 0;
            transform(x, offset, rows, cols, byColumns, from, at);
        }
        BlockTile tile = BlockTile.ofSource(spec, byColumns);
        reserve(tile.rowCount(storedRows) * tile.colCount(storedCols), tile.colCount(storedCols), storedCols);
        return amaxFinder.find(from, at, storedRows, storedCols, tile, blockAmax);
    }

    /**
     * Quantizes {@code x} [rows, cols] into {@code out} [storedRows, storedCols].
     *
     * @param byColumns blocks run along the rows (K = rows) instead of the columns
     * @param random needed when the spec rounds stochastically
     * @param knownAmax the largest magnitude of the tensor that x is a part of; null = x is the tensor
     * @param stats receives telemetry when not null
     * @return the tensor scale
     */
    public float quantize(
            float[] x,
            int offset,
            int rows,
            int cols,
            boolean byColumns,
            OperandSpec spec,
            @Nullable StochasticBits random,
            @Nullable Float knownAmax,
            float[] out,
            int outOffset,
            @Nullable QuantStatsAccumulator stats) {
        check(spec, random);
        if (!spec.hadamard()) {
            return quantizeBlocks(x, offset, rows, cols, byColumns, spec, random, knownAmax, out, outOffset, stats);
        }
        transform(x, offset, rows, cols, byColumns, out, outOffset);
        int storedRows = storedRows(spec, byColumns, rows);
        int storedCols = storedCols(spec, byColumns, cols);
        return quantizeBlocks(
                out, outOffset, storedRows, storedCols, byColumns, spec, random, knownAmax, out, outOffset, stats);
    }

    /** {@link #quantize} of a whole tensor. */
    public float quantize(
            float[] x,
            int offset,
            int rows,
            int cols,
            boolean byColumns,
            OperandSpec spec,
            @Nullable StochasticBits random,
            float[] out,
            int outOffset,
            @Nullable QuantStatsAccumulator stats) {
        return quantize(x, offset, rows, cols, byColumns, spec, random, null, out, outOffset, stats);
    }

    private static void transform(
            float[] x, int offset, int rows, int cols, boolean byColumns, float[] out, int outOffset) {
        if (byColumns) {
            Hadamard16.transformColumns(x, offset, rows, cols, out, outOffset);
        } else {
            Hadamard16.transformRows(x, offset, rows, cols, out, outOffset);
        }
    }

    private float quantizeBlocks(
            float[] x,
            int offset,
            int rows,
            int cols,
            boolean byColumns,
            OperandSpec spec,
            @Nullable StochasticBits random,
            @Nullable Float knownAmax,
            float[] out,
            int outOffset,
            @Nullable QuantStatsAccumulator stats) {
        BlockTile tile = BlockTile.ofSource(spec, byColumns);
        int blockCols = tile.colCount(cols);
        int blocks = tile.rowCount(rows) * blockCols;
        reserve(blocks, blockCols, cols);
        float ownAmax = amaxFinder.find(x, offset, rows, cols, tile, blockAmax);
        float tensorAmax = knownAmax == null ? ownAmax : knownAmax;
        BlockScaling scaling = BlockScaling.of(spec, tensorAmax);
        if (stats != null) {
            stats.addBlocks(spec, scaling, blockAmax, blocks, tensorAmax);
        }
        for (int r = 0; r < rows; r++) {
            if (r % tile.rows() == 0) {
                scaling.factors(blockAmax, r / tile.rows() * blockCols, blockCols, blockEncode, blockDecode);
                spread(blockEncode, tile.cols(), cols, encode);
                spread(blockDecode, tile.cols(), cols, decode);
            }
            int at = offset + r * cols;
            int to = outOffset + r * cols;
            if (stats != null) {
                System.arraycopy(x, at, original, 0, cols);
            }
            if (spec.rounding() == Rounding.STOCHASTIC && random != null) {
                random.fillRow(r, cols, words);
                rounding.e2m1Stochastic(x, at, cols, encode, decode, words, out, to);
            } else {
                roundToNearest(spec.format(), x, at, cols, out, to);
            }
            if (stats != null) {
                stats.addRow(original, 0, cols, encode, decode, largest(spec), scaling.tensorScale(), out, to);
            }
        }
        return scaling.tensorScale();
    }

    private void roundToNearest(Format format, float[] x, int at, int cols, float[] out, int to) {
        switch (format) {
            case NVFP4, MXFP4 -> rounding.e2m1Nearest(x, at, cols, encode, decode, out, to);
            case FP8_E4M3 -> rounding.e4m3Nearest(x, at, cols, encode, decode, out, to);
            case FP8_E5M2 -> rounding.e5m2Nearest(x, at, cols, encode, decode, out, to);
            case FP32, BF16 -> throw new IllegalStateException("not a quantized format: " + format);
        }
    }

    /** One factor per block to one factor per column. */
    private static void spread(float[] perBlock, int width, int cols, float[] perColumn) {
        if (width == 1) {
            System.arraycopy(perBlock, 0, perColumn, 0, cols);
            return;
        }
        for (int c = 0, block = 0; c < cols; c += width, block++) {
            Arrays.fill(perColumn, c, Math.min(cols, c + width), perBlock[block]);
        }
    }

    private static float largest(OperandSpec spec) {
        return switch (spec.format()) {
            case NVFP4, MXFP4 -> Float4E2M1.MAX;
            case FP8_E4M3 -> Float8E4M3.MAX;
            case FP8_E5M2 -> Float8E5M2.MAX;
            case FP32, BF16 -> throw new IllegalStateException("not a quantized format: " + spec);
        };
    }

    private void reserve(int blocks, int blockCols, int cols) {
        if (blockAmax.length < blocks) {
            blockAmax = new float[blocks];
        }
        if (blockEncode.length < blockCols) {
            blockEncode = new float[blockCols];
            blockDecode = new float[blockCols];
        }
        if (encode.length < cols) {
            encode = new float[cols];
            decode = new float[cols];
            original = new float[cols];
            words = new int[(cols + StochasticBits.GROUP - 1) / StochasticBits.GROUP * 4];
        }
    }
}
