package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.BFloat16;
import java.util.Arrays;

/**
 * The 16-point random Hadamard transform of arXiv:2509.25149 (section 4.3): y = x * diag(signs) * H / 4 with the Sylvester
 * matrix H, on blocks of 16 consecutive values along K. The sign vector is fixed for the whole run. Both operands of a
 * product are transformed, and because the matrix is orthogonal the product does not change.
 *
 * <p>Order of operations, the same on every backend: signs, then four butterfly stages of distance 1, 2, 4, 8 in FP32
 * (a + b, a - b), then times 0.25, then rounding to BF16.
 */
public final class Hadamard16 {
    public static final int SIZE = 16;

    private static final float[] SIGNS = {1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1};
    /** Columns transformed together: 16 rows of them stay in the first-level cache. */
    private static final int CHUNK = 256;

    private Hadamard16() {}

    /** Sign of the i-th value of a block, 1 or -1. */
    public static float sign(int i) {
        return SIGNS[i];
    }

    /** Transforms the 16 values at {@code at, at + 1, ...} in place. */
    public static void transform(float[] x, int at) {
        for (int i = 0; i < SIZE; i++) {
            x[at + i] *= SIGNS[i];
        }
        for (int distance = 1; distance < SIZE; distance *= 2) {
            for (int start = 0; start < SIZE; start += 2 * distance) {
                for (int i = at + start; i < at + start + distance; i++) {
                    float a = x[i];
                    float b = x[i + distance];
                    x[i] = a + b;
                    x[i + distance] = a - b;
                }
            }
        }
        for (int i = at; i < at + SIZE; i++) {
            x[i] = BFloat16.round(x[i] * 0.25f);
        }
    }

    /** Transforms each row [cols] of a matrix in blocks of 16; rows of {@code out} have the next multiple of 16 columns. */
    static void transformRows(float[] x, int offset, int rows, int cols, float[] out, int outOffset) {
        int stored = roundUp(cols);
        for (int r = 0; r < rows; r++) {
            int to = outOffset + r * stored;
            System.arraycopy(x, offset + r * cols, out, to, cols);
            Arrays.fill(out, to + cols, to + stored, 0f);
            for (int c = 0; c < stored; c += SIZE) {
                transform(out, to + c);
            }
        }
    }

    /**
     * Transforms each column of a matrix [rows, cols] in blocks of 16 rows. A short last block is padded with zeros and
     * gives 16 rows, so {@code out} has the next multiple of 16 rows.
     */
    static void transformColumns(float[] x, int offset, int rows, int cols, float[] out, int outOffset) {
        for (int first = 0; first < rows; first += SIZE) {
            int present = Math.min(SIZE, rows - first);
            for (int c = 0; c < cols; c += CHUNK) {
                int width = Math.min(CHUNK, cols - c);
                int to = outOffset + first * cols + c;
                signedRows(x, offset + first * cols + c, present, cols, width, out, to);
                for (int i = 0; i < SIZE; i += 4) {
                    twoStages(out, to + i * cols, cols, width); // distances 1 and 2
                }
                for (int i = 0; i < 4; i++) {
                    twoStages(out, to + i * cols, 4 * cols, width); // distances 4 and 8
                }
                for (int i = 0; i < SIZE; i++) {
                    scaleAndRound(out, to + i * cols, width);
                }
            }
        }
    }

    /** The next multiple of 16. */
    static int roundUp(int size) {
        return (size + SIZE - 1) / SIZE * SIZE;
    }

    private static void signedRows(float[] x, int at, int present, int stride, int width, float[] out, int to) {
        for (int i = 0; i < SIZE; i++) {
            int target = to + i * stride;
            if (i >= present) {
                Arrays.fill(out, target, target + width, 0f);
                continue;
            }
            int source = at + i * stride;
            float sign = SIGNS[i];
            for (int c = 0; c < width; c++) {
                out[target + c] = x[source + c] * sign;
            }
        }
    }

    /** Two butterfly stages on four rows {@code stride} apart, with each element read and written once. */
    private static void twoStages(float[] x, int at, int stride, int width) {
        for (int i = at; i < at + width; i++) {
            float sum0 = x[i] + x[i + stride];
            float difference0 = x[i] - x[i + stride];
            float sum1 = x[i + 2 * stride] + x[i + 3 * stride];
            float difference1 = x[i + 2 * stride] - x[i + 3 * stride];
            x[i] = sum0 + sum1;
            x[i + stride] = difference0 + difference1;
            x[i + 2 * stride] = sum0 - sum1;
            x[i + 3 * stride] = difference0 - difference1;
        }
    }

    private static void scaleAndRound(float[] x, int at, int width) {
        for (int c = at; c < at + width; c++) {
            x[c] *= 0.25f;
        }
        BFloat16.round(x, at, x, at, width);
    }
}
