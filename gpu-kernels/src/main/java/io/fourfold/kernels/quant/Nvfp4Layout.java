package io.fourfold.kernels.quant;

import java.util.Arrays;

/**
 * Where the groups of an NVFP4 operand lie in one buffer of codes and one of scales, in the form that FP4 tensor cores read:
 * each group is a matrix [rows, depth] with K contiguous, two codes a byte, K padded with zeros to a multiple of 64, so that
 * every row starts at a multiple of 32 bytes; its scales are in the order of {@link ScaleSwizzle}. A whole matrix is one group.
 */
public final class Nvfp4Layout {
    /** Stored K is a multiple: four blocks of 16, a tile of scales, and what the copy engines want. */
    public static final int DEPTH_UNIT = 64;

    private static final int BLOCK = 16;

    private final int[] rows;
    private final int[] depths;
    private final long[] codesAt;
    private final long[] scalesAt;
    private final long codeBytes;
    private final long scaleBytes;

    private Nvfp4Layout(int[] rows, int[] depths, long firstCode) {
        this.rows = rows;
        this.depths = depths;
        codesAt = new long[rows.length];
        scalesAt = new long[rows.length];
        long code = firstCode;
        long scale = 0;
        for (int g = 0; g < rows.length; g++) {
            codesAt[g] = code;
            scalesAt[g] = scale;
            code += codeBytes(rows[g], depths[g]);
            scale += scaleBytes(rows[g], depths[g]);
        }
        codeBytes = code;
        scaleBytes = scale;
    }

    /** Equal groups [rows, depth]: weights, or one matrix. */
    public static Nvfp4Layout equal(int groups, int rows, int depth) {
        int[] allRows = new int[groups];
        int[] allDepths = new int[groups];
        Arrays.fill(allRows, rows);
        Arrays.fill(allDepths, depth);
        return new Nvfp4Layout(allRows, allDepths, 0);
    }

    /** Groups of rows {@code offsets[g] .. offsets[g + 1]} and one depth; rows of codes keep their numbers. */
    public static Nvfp4Layout raggedRows(int[] offsets, int depth) {
        int[] rows = sizes(offsets);
        int[] depths = new int[rows.length];
        Arrays.fill(depths, depth);
        return new Nvfp4Layout(rows, depths, codeBytes(offsets[0], depth));
    }

    /** Groups of one number of rows, whose depths are {@code offsets[g] .. offsets[g + 1]}. */
    public static Nvfp4Layout raggedDepth(int[] offsets, int rows) {
        int[] depths = sizes(offsets);
        int[] allRows = new int[depths.length];
        Arrays.fill(allRows, rows);
        return new Nvfp4Layout(allRows, depths, 0);
    }

    /** Bytes of the codes of one matrix. */
    public static long codeBytes(int rows, int depth) {
        return (long) rows * stored(depth) / 2;
    }

    /** Bytes of the scales of one matrix. */
    public static long scaleBytes(int rows, int depth) {
        return ScaleSwizzle.size(rows, stored(depth) / BLOCK);
    }

    /** Bytes that hold the codes of {@code groups} groups however {@code total} rows (or depth) fall to them. */
    public static long mostCodeBytes(int total, int groups, int other, boolean raggedDepth) {
        return raggedDepth ? (total + (long) groups * (DEPTH_UNIT - 1)) * other / 2 + other : codeBytes(total, other);
    }

    /** The same for scales. */
    public static long mostScaleBytes(int total, int groups, int other, boolean raggedDepth) {
        long padded = total + (long) groups * ((raggedDepth ? DEPTH_UNIT : ScaleSwizzle.TILE_ROWS) - 1);
        long width = raggedDepth ? roundUp(other, ScaleSwizzle.TILE_ROWS) : stored(other);
        return padded * width / BLOCK + width;
    }

    public int groups() {
        return rows.length;
    }

    public int rows(int group) {
        return rows[group];
    }

    /** K as stored: what a product runs over. */
    public int storedDepth(int group) {
        return stored(depths[group]);
    }

    /** First byte of a group's codes. */
    public long codesAt(int group) {
        return codesAt[group];
    }

    /** First byte of a group's scales. */
    public long scalesAt(int group) {
        return scalesAt[group];
    }

    /** Bytes up to the end of the last group's codes. */
    public long codeBytes() {
        return codeBytes;
    }

    public long scaleBytes() {
        return scaleBytes;
    }

    /** Writes a group's codes and scales to its place in both buffers. */
    public void place(int group, PackedMatrix matrix, byte[] codes, byte[] scales) {
        if (matrix.rows() != rows[group] || stored(matrix.depth()) != storedDepth(group)) {
            throw new IllegalArgumentException("group " + group + " is [" + rows[group] + ", " + depths[group]
                    + "], the matrix [" + matrix.rows() + ", " + matrix.depth() + "]");
        }
        int blocks = storedDepth(group) / BLOCK;
        int given = matrix.storedDepth() / BLOCK;
        for (int r = 0; r < matrix.rows(); r++) {
            for (int b = 0; b < given; b++) {
                System.arraycopy(
                        matrix.codes(),
                        (r * given + b) * (BLOCK / 2),
                        codes,
                        Math.toIntExact(codesAt[group] + ((long) r * blocks + b) * (BLOCK / 2)),
                        BLOCK / 2);
                scales[Math.toIntExact(scalesAt[group] + ScaleSwizzle.position(r, b, blocks))] =
                        matrix.scales()[r * given + b];
            }
        }
    }

    private static int[] sizes(int[] offsets) {
        int[] sizes = new int[offsets.length - 1];
        for (int g = 0; g < sizes.length; g++) {
            sizes[g] = offsets[g + 1] - offsets[g];
        }
        return sizes;
    }

    private static int stored(int depth) {
        return roundUp(depth, DEPTH_UNIT);
    }

    private static int roundUp(int size, int unit) {
        return (size + unit - 1) / unit * unit;
    }
}
