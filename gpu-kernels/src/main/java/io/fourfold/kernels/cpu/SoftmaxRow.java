package io.fourfold.kernels.cpu;

/** Softmax of one row, stable by subtracting the largest value first. */
final class SoftmaxRow {
    private SoftmaxRow() {}

    /**
     * Replaces {@code length} values by exp(x - max) and returns their sum in {@code sumAndMax[0]} and max in
     * {@code sumAndMax[1]}, so that log-sum-exp = max + log(sum). A NaN or a positive infinity makes the sum NaN.
     */
    static void exponentiate(float[] row, int offset, int length, float[] sumAndMax) {
        float max = Sums.max(row, offset, length);
        sumAndMax[0] = exponentiate(row, offset, length, max);
        sumAndMax[1] = max;
    }

    /** Replaces values by exp(x - max) and returns their sum. */
    static float exponentiate(float[] row, int offset, int length, float max) {
        for (int i = offset; i < offset + length; i++) {
            row[i] = FloatExp.exp(row[i] - max);
        }
        return Sums.sum(row, offset, length);
    }

    /** Replaces values by their softmax; a row that holds NaN or only infinities becomes NaN. */
    static void softmax(float[] row, int offset, int length) {
        if (length == 0) {
            return;
        }
        float[] sumAndMax = new float[2];
        exponentiate(row, offset, length, sumAndMax);
        float sum = sumAndMax[0];
        for (int i = offset; i < offset + length; i++) {
            row[i] /= sum;
        }
    }

    static float logSumExp(float max, float sum) {
        return max + (float) Math.log(sum);
    }
}
