package io.fourfold.kernels.cpu;

/**
 * RMSNorm of one row x of n values:
 *
 * <pre>
 * r = 1 / sqrt(mean(x^2) + eps)      y_i = x_i * r * w_i
 * dw_i += dy_i * x_i * r             dx_i = r * (w_i dy_i - x_i * r^2 * mean_j(w_j dy_j x_j))
 * </pre>
 */
final class CpuRmsNorm {
    private final int width;
    /** w * dy of the current row. */
    private final float[] weighted;

    CpuRmsNorm(int width) {
        this.width = width;
        this.weighted = new float[width];
    }

    /** Writes y, unrounded, and returns r. */
    static float forward(float[] x, int xo, float[] w, int wo, int n, float eps, float[] y, int yo) {
        float meanSquare = Sums.dot(x, xo, x, xo, n) / n;
        float r = (float) (1.0 / Math.sqrt(meanSquare + eps));
        for (int i = 0; i < n; i++) {
            y[yo + i] = x[xo + i] * r * w[wo + i];
        }
        return r;
    }

    /** Writes or adds dx, unrounded, and adds to dw. */
    void backward(
            CpuTensor dy,
            int dyo,
            CpuTensor x,
            int xo,
            CpuTensor w,
            float r,
            CpuTensor dx,
            int dxo,
            boolean accumulate,
            CpuTensor dw) {
        weigh(dy.floats(), dyo, x.floats(), xo, w.floats(), w.offset(), r, dw.floats(), dw.offset());
        float mean = Sums.dot(weighted, 0, x.floats(), xo, width) / width;
        float along = r * r * r * mean;
        if (accumulate) {
            addGradient(x.floats(), xo, r, along, dx.floats(), dxo);
        } else {
            writeGradient(x.floats(), xo, r, along, dx.floats(), dxo);
        }
    }

    private void weigh(float[] dy, int dyo, float[] x, int xo, float[] w, int wo, float r, float[] dw, int dwo) {
        for (int i = 0; i < width; i++) {
            weighted[i] = dy[dyo + i] * w[wo + i];
        }
        for (int i = 0; i < width; i++) {
            dw[dwo + i] += dy[dyo + i] * (x[xo + i] * r);
        }
    }

    private void writeGradient(float[] x, int xo, float r, float along, float[] dx, int dxo) {
        for (int i = 0; i < width; i++) {
            dx[dxo + i] = r * weighted[i] - along * x[xo + i];
        }
    }

    private void addGradient(float[] x, int xo, float r, float along, float[] dx, int dxo) {
        for (int i = 0; i < width; i++) {
            dx[dxo + i] += r * weighted[i] - along * x[xo + i];
        }
    }
}
