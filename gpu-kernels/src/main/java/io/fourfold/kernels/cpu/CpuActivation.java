package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The nonlinearity of a feed-forward block times the routing probability p of the row. With s = sigmoid(g):
 *
 * <pre>
 * SWIGLU  a = g s u (row is [g | u])   dg = d p u s (1 + g (1 - s))   du = d p g s   dp = sum d a   (arXiv:2002.05202)
 * RELU2   a = max(x, 0)^2              dx = 2 d p max(x, 0)                          dp = sum d a   (arXiv:2109.08668)
 * </pre>
 */
final class CpuActivation {
    private final Activation kind;
    private final CpuTensor in;
    private final @Nullable CpuTensor probability;
    private final int inWidth;
    private final int width;
    private final int rows;
    /** Sigmoids, then activations of the current row. */
    private final float[] gates;

    private final float[] activated;

    CpuActivation(Activation kind, Tensor in, @Nullable Tensor probability) {
        this.kind = kind;
        this.in = Arguments.floats(in, "in", in.elements());
        this.inWidth = in.shape().cols();
        this.width = inWidth / kind.inputFactor();
        Arguments.require(width * kind.inputFactor() == inWidth, kind + " of an odd number of columns: " + in);
        this.rows = in.shape().rows();
        this.probability = probability == null ? null : Arguments.fp32(probability, "probability", rows);
        this.gates = new float[width];
        this.activated = new float[width];
    }

    void forward(Tensor out) {
        CpuTensor to = Arguments.floats(out, "out", (long) rows * width);
        for (int r = 0; r < rows; r++) {
            activate(in.floats(), in.offset() + r * inWidth);
            scale(probability(r), to.floats(), to.offset() + r * width);
        }
        Bf16Rounding.roundIfNeeded(to, to.offset(), to.size());
    }

    void backward(Tensor dout, Tensor din, @Nullable Tensor dprobability) {
        CpuTensor d = Arguments.floats(dout, "dout", (long) rows * width);
        CpuTensor to = Arguments.floats(din, "din", in.elements());
        CpuTensor dp = dprobability == null ? null : Arguments.fp32(dprobability, "dprobability", rows);
        for (int r = 0; r < rows; r++) {
            int at = r * inWidth;
            int dAt = d.offset() + r * width;
            activate(in.floats(), in.offset() + at);
            if (dp != null) {
                dp.floats()[dp.offset() + r] = Sums.dot(d.floats(), dAt, activated, 0, width);
            }
            float p = probability(r);
            switch (kind) {
                case SWIGLU ->
                    swigluGradient(p, d.floats(), dAt, in.floats(), in.offset() + at, to.floats(), to.offset() + at);
                case RELU2 ->
                    relu2Gradient(p, d.floats(), dAt, in.floats(), in.offset() + at, to.floats(), to.offset() + at);
            }
        }
        Bf16Rounding.roundIfNeeded(to, to.offset(), to.size());
    }

    private float probability(int row) {
        return probability == null ? 1f : probability.floats()[probability.offset() + row];
    }

    /** Fills {@link #activated}, and {@link #gates} with the sigmoids of SWIGLU. */
    private void activate(float[] x, int xo) {
        if (kind == Activation.RELU2) {
            for (int i = 0; i < width; i++) {
                float positive = Math.max(x[xo + i], 0f);
                activated[i] = positive * positive;
            }
            return;
        }
        for (int i = 0; i < width; i++) {
            gates[i] = FloatExp.exp(-x[xo + i]);
        }
        for (int i = 0; i < width; i++) {
            gates[i] = 1f / (1f + gates[i]);
        }
        for (int i = 0; i < width; i++) {
            activated[i] = x[xo + i] * gates[i] * x[xo + width + i];
        }
    }

    private void scale(float p, float[] out, int oo) {
        for (int i = 0; i < width; i++) {
            out[oo + i] = activated[i] * p;
        }
    }

    private void swigluGradient(float p, float[] d, int dAt, float[] x, int xo, float[] dx, int dxo) {
        for (int i = 0; i < width; i++) {
            float upstream = d[dAt + i] * p;
            float gate = x[xo + i];
            float up = x[xo + width + i];
            float s = gates[i];
            dx[dxo + i] = upstream * up * s * (1f + gate * (1f - s));
            dx[dxo + width + i] = upstream * gate * s;
        }
    }

    private void relu2Gradient(float p, float[] d, int dAt, float[] x, int xo, float[] dx, int dxo) {
        for (int i = 0; i < width; i++) {
            dx[dxo + i] = 2f * d[dAt + i] * p * Math.max(x[xo + i], 0f);
        }
    }
}
