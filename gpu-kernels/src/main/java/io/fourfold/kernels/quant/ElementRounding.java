package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.numeric.Float8E5M2;

/**
 * The inner loops: {@code out[c] = code(x[c] * encode[c]) * decode[c]} over one row, without ever storing the code. One
 * loop per rounding, so that none branches per element; x and out may be the same array at the same place.
 */
final class ElementRounding {
    private ElementRounding() {}

    static void e2m1Nearest(float[] x, int at, int cols, float[] encode, float[] decode, float[] out, int to) {
        for (int c = 0; c < cols; c++) {
            out[to + c] = Float4E2M1.nearest(x[at + c] * encode[c]) * decode[c];
        }
    }

    /** @param words random bytes, column c's at {@code words[c / 4] >>> 8 * (c % 4)} */
    static void e2m1Stochastic(
            float[] x, int at, int cols, float[] encode, float[] decode, int[] words, float[] out, int to) {
        for (int c = 0; c < cols; c++) {
            int random = (words[c >> 2] >>> ((c & 3) << 3)) & 0xFF;
            out[to + c] = Float4E2M1.stochastic(x[at + c] * encode[c], random) * decode[c];
        }
    }

    static void e4m3Nearest(float[] x, int at, int cols, float[] encode, float[] decode, float[] out, int to) {
        for (int c = 0; c < cols; c++) {
            out[to + c] = Float8E4M3.round(x[at + c] * encode[c]) * decode[c];
        }
    }

    static void e5m2Nearest(float[] x, int at, int cols, float[] encode, float[] decode, float[] out, int to) {
        for (int c = 0; c < cols; c++) {
            out[to + c] = Float8E5M2.round(x[at + c] * encode[c]) * decode[c];
        }
    }
}
