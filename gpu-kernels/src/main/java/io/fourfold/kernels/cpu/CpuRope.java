package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;

/**
 * Rotary position embedding (arXiv:2104.09864) in the "rotate half" layout: for pair i of d/2,
 *
 * <pre>angle = position * theta^(-2i/d);  (x_i, x_{i+d/2}) -> (x_i cos - x_{i+d/2} sin, x_{i+d/2} cos + x_i sin)</pre>
 *
 * The frequency and the angle are FP32 values, one rounding each, as Hugging Face computes them; sine and cosine of that
 * angle are FP64, rounded to FP32. Keeps the cosines and sines of every position seen for the last theta and headDim.
 */
final class CpuRope {
    private double theta = Double.NaN;
    private float[] frequencies = new float[0];
    /** By position: d/2 cosines, then d/2 sines. */
    private float[][] rotations = new float[0][];

    void rotate(Tensor qkv, int heads, int kvHeads, int headDim, Tensor positions, double base, boolean inverse) {
        int tokens = Math.toIntExact(positions.elements());
        int width = (heads + 2 * kvHeads) * headDim;
        Arguments.require(headDim % 2 == 0, "rotary positions need an even headDim, got " + headDim);
        CpuTensor x = Arguments.floats(qkv, "qkv", (long) tokens * width);
        CpuTensor where = Arguments.int32(positions, "positions", tokens);
        prepare(base, headDim);
        int half = headDim / 2;
        for (int t = 0; t < tokens; t++) {
            float[] rotation = rotation(where.ints()[where.offset() + t], half);
            int row = x.offset() + t * width;
            for (int head = 0; head < heads + kvHeads; head++) {
                rotateHead(x.floats(), row + head * headDim, half, rotation, inverse ? -1f : 1f);
            }
            Bf16Rounding.roundIfNeeded(x, row, (heads + kvHeads) * headDim);
        }
    }

    private static void rotateHead(float[] x, int at, int half, float[] rotation, float direction) {
        for (int i = 0; i < half; i++) {
            float low = x[at + i];
            float high = x[at + half + i];
            float cos = rotation[i];
            float sin = direction * rotation[half + i];
            x[at + i] = low * cos - high * sin;
            x[at + half + i] = high * cos + low * sin;
        }
    }

    private void prepare(double base, int headDim) {
        if (base == theta && frequencies.length == headDim / 2) {
            return;
        }
        theta = base;
        frequencies = new float[headDim / 2];
        for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] = (float) Math.pow(base, -2.0 * i / headDim);
        }
        rotations = new float[0][];
    }

    private float[] rotation(int position, int half) {
        Arguments.require(position >= 0, "negative position " + position);
        if (position >= rotations.length) {
            rotations = Arrays.copyOf(rotations, Math.max(position + 1, 2 * rotations.length));
        }
        float[] rotation = rotations[position];
        if (rotation == null) {
            rotation = new float[2 * half];
            for (int i = 0; i < half; i++) {
                float angle = position * frequencies[i];
                rotation[i] = (float) Math.cos(angle);
                rotation[half + i] = (float) Math.sin(angle);
            }
            rotations[position] = rotation;
        }
        return rotation;
    }
}
