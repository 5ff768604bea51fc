package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.numeric.Float8E5M2;
import io.fourfold.kernels.numeric.FloatBits;

/**
 * The inner loops: {@code out[c] = code(x[c] * encode[c]) * decode[c]} over one row, without ever storing the code. The
 * source and the output may be the same array at the same place. FP4 works on the bits as integers, in chunks, so that
 * every loop vectorizes.
 */
final class ElementRounding {
    private final FloatBits move = new FloatBits();
    private final float[] scaled = new float[FloatBits.LANES];
    private final int[] bits = new int[FloatBits.LANES];
    private final int[] randomBytes = new int[FloatBits.LANES];
    private final int[] halfFrom = new int[FloatBits.LANES];

    void e2m1Nearest(float[] x, int at, int cols, float[] encode, float[] decode, float[] out, int to) {
        for (int c = 0; c < cols; c += FloatBits.LANES) {
            int count = Math.min(FloatBits.LANES, cols - c);
            multiply(x, at + c, encode, c, scaled, 0, count);
            move.toBits(scaled, 0, bits, count);
            Float4E2M1.nearest(bits, count);
            move.toFloats(bits, scaled, 0, count);
            multiply(scaled, 0, decode, c, out, to + c, count);
        }
    }

    /** @param words random bytes, column c's at {@code words[c / 4] >>> 8 * (c % 4)} */
    void e2m1Stochastic(float[] x, int at, int cols, float[] encode, float[] decode, int[] words, float[] out, int to) {
        for (int c = 0; c < cols; c += FloatBits.LANES) {
            int count = Math.min(FloatBits.LANES, cols - c);
            spreadBytes(words, c / 4, (count + 3) / 4);
            multiply(x, at + c, encode, c, scaled, 0, count);
            move.toBits(scaled, 0, bits, count);
            Float4E2M1.stochastic(bits, randomBytes, halfFrom, count);
            move.toFloats(bits, scaled, 0, count);
            multiply(scaled, 0, decode, c, out, to + c, count);
        }
    }

    void e4m3Nearest(float[] x, int at, int cols, float[] encode, float[] decode, float[] out, int to) {
        for (int c = 0; c < cols; c++) {
            out[to + c] = Float8E4M3.round(x[at + c] * encode[c]) * decode[c];
        }
    }

    void e5m2Nearest(float[] x, int at, int cols, float[] encode, float[] decode, float[] out, int to) {
        for (int c = 0; c < cols; c++) {
            out[to + c] = Float8E5M2.round(x[at + c] * encode[c]) * decode[c];
        }
    }

    private static void multiply(float[] a, int atA, float[] b, int atB, float[] out, int to, int count) {
        for (int i = 0; i < count; i++) {
            out[to + i] = a[atA + i] * b[atB + i];
        }
    }

    private void spreadBytes(int[] words, int first, int count) {
        for (int w = 0; w < count; w++) {
            int word = words[first + w];
            int c = 4 * w;
            randomBytes[c] = word & 0xFF;
            randomBytes[c + 1] = (word >>> 8) & 0xFF;
            randomBytes[c + 2] = (word >>> 16) & 0xFF;
            randomBytes[c + 3] = word >>> 24;
            halfFrom[c] = Float4E2M1.halfFrom(word & 0xFF);
            halfFrom[c + 1] = Float4E2M1.halfFrom((word >>> 8) & 0xFF);
            halfFrom[c + 2] = Float4E2M1.halfFrom((word >>> 16) & 0xFF);
            halfFrom[c + 3] = Float4E2M1.halfFrom(word >>> 24);
        }
    }
}
