package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.Tensor;

/** One sigmoid gate per token on a row: out += sigmoid(g) * y, the gated shared expert of Qwen2-MoE. */
final class CpuGate {
    private CpuGate() {}

    static void addGated(Tensor gate, Tensor y, Tensor out) {
        int rows = Math.toIntExact(gate.elements());
        CpuTensor g = Arguments.fp32(gate, "gate", rows);
        CpuTensor from = Arguments.floats(y, "y", out.elements());
        CpuTensor to = CpuTensor.of(out);
        int width = width(from, rows);
        float[] source = from.floats();
        float[] sums = to.floats();
        for (int t = 0; t < rows; t++) {
            float s = FloatExp.sigmoid(g.floats()[g.offset() + t]);
            int x = from.offset() + t * width;
            int z = to.offset() + t * width;
            for (int c = 0; c < width; c++) {
                sums[z + c] += s * source[x + c];
            }
        }
        Bf16Rounding.roundIfNeeded(to, to.offset(), to.size());
    }

    static void addGatedBackward(Tensor gate, Tensor y, Tensor dout, Tensor dy, Tensor dgate) {
        int rows = Math.toIntExact(gate.elements());
        CpuTensor g = Arguments.fp32(gate, "gate", rows);
        CpuTensor value = CpuTensor.of(y);
        CpuTensor gradient = Arguments.floats(dout, "dout", value.elements());
        CpuTensor to = Arguments.floats(dy, "dy", value.elements());
        CpuTensor gateGradient = Arguments.fp32(dgate, "dgate", rows);
        int width = width(value, rows);
        float[] dOut = gradient.floats();
        float[] dY = to.floats();
        for (int t = 0; t < rows; t++) {
            float s = FloatExp.sigmoid(g.floats()[g.offset() + t]);
            int d = gradient.offset() + t * width;
            float dot = Sums.dot(dOut, d, value.floats(), value.offset() + t * width, width);
            gateGradient.floats()[gateGradient.offset() + t] = s * (1f - s) * dot;
            int z = to.offset() + t * width;
            for (int c = 0; c < width; c++) {
                dY[z + c] = s * dOut[d + c];
            }
        }
        Bf16Rounding.roundIfNeeded(to, to.offset(), to.size());
    }

    private static int width(CpuTensor y, int rows) {
        Arguments.require(rows == 0 ? y.size() == 0 : y.size() % rows == 0, "gate of " + rows + " rows for " + y);
        return rows == 0 ? 0 : y.size() / rows;
    }
}
