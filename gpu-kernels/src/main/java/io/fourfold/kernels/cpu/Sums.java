package io.fourfold.kernels.cpu;

/** FP32 sums over a row in eight interleaved partial sums: faster and more accurate than one running sum. */
final class Sums {
    private Sums() {}

    static float dot(float[] a, int offsetA, float[] b, int offsetB, int length) {
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
        int i = 0;
        for (; i + 8 <= length; i += 8) {
            s0 += a[offsetA + i] * b[offsetB + i];
            s1 += a[offsetA + i + 1] * b[offsetB + i + 1];
            s2 += a[offsetA + i + 2] * b[offsetB + i + 2];
            s3 += a[offsetA + i + 3] * b[offsetB + i + 3];
            s4 += a[offsetA + i + 4] * b[offsetB + i + 4];
            s5 += a[offsetA + i + 5] * b[offsetB + i + 5];
            s6 += a[offsetA + i + 6] * b[offsetB + i + 6];
            s7 += a[offsetA + i + 7] * b[offsetB + i + 7];
        }
        for (; i < length; i++) {
            s0 += a[offsetA + i] * b[offsetB + i];
        }
        return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
    }

    static float sum(float[] a, int offset, int length) {
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
        int i = 0;
        for (; i + 8 <= length; i += 8) {
            s0 += a[offset + i];
            s1 += a[offset + i + 1];
            s2 += a[offset + i + 2];
            s3 += a[offset + i + 3];
            s4 += a[offset + i + 4];
            s5 += a[offset + i + 5];
            s6 += a[offset + i + 6];
            s7 += a[offset + i + 7];
        }
        for (; i < length; i++) {
            s0 += a[offset + i];
        }
        return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
    }

    /**
     * The largest value that is not NaN, negative infinity if there is none. Comparisons rather than Math.max, whose care
     * for NaN and signed zeros costs three times as much.
     */
    static float max(float[] a, int offset, int length) {
        float m0 = Float.NEGATIVE_INFINITY;
        float m1 = m0;
        float m2 = m0;
        float m3 = m0;
        int i = 0;
        for (; i + 4 <= length; i += 4) {
            m0 = a[offset + i] > m0 ? a[offset + i] : m0;
            m1 = a[offset + i + 1] > m1 ? a[offset + i + 1] : m1;
            m2 = a[offset + i + 2] > m2 ? a[offset + i + 2] : m2;
            m3 = a[offset + i + 3] > m3 ? a[offset + i + 3] : m3;
        }
        for (; i < length; i++) {
            m0 = a[offset + i] > m0 ? a[offset + i] : m0;
        }
        return Math.max(Math.max(m0, m1), Math.max(m2, m3));
    }
}
