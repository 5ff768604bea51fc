package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;

/** Element-wise operations; embedding, rotation and gating have classes of their own. */
final class CpuElementwiseOps implements ElementwiseOps {
    private final CpuRope rope = new CpuRope();

    @Override
    public void fill(Tensor out, float value) {
        CpuTensor to = CpuTensor.of(out);
        int end = to.offset() + to.size();
        if (to.dtype() == DType.INT32) {
            int integer = (int) value;
            Arguments.require(integer == value, "filling INT32 with " + value);
            Arrays.fill(to.ints(), to.offset(), end, integer);
        } else {
            Arrays.fill(to.floats(), to.offset(), end, to.dtype() == DType.BF16 ? BFloat16.round(value) : value);
        }
    }

    @Override
    public void copy(Tensor in, Tensor out) {
        CpuTensor from = CpuTensor.of(in);
        CpuTensor to = CpuTensor.of(out);
        Arguments.require(from.elements() == to.elements(), "copying " + from + " to " + to);
        int n = from.size();
        if (from.dtype() == DType.INT32) {
            copyInts(from, to, n);
            return;
        }
        System.arraycopy(from.floats(), from.offset(), to.floats(), to.offset(), n);
        if (from.dtype() == DType.FP32) {
            Bf16Rounding.roundIfNeeded(to, to.offset(), n);
        }
    }

    private static void copyInts(CpuTensor from, CpuTensor to, int n) {
        if (to.dtype() == DType.INT32) {
            System.arraycopy(from.ints(), from.offset(), to.ints(), to.offset(), n);
            return;
        }
        Arguments.require(to.dtype() == DType.FP32, "INT32 copies into FP32 or INT32, not into " + to);
        int[] source = from.ints();
        float[] destination = to.floats();
        for (int i = 0; i < n; i++) {
            destination[to.offset() + i] = source[from.offset() + i];
        }
    }

    @Override
    public void copyColumns(Tensor in, int from, Tensor out, int to, int count) {
        CpuTensor source = CpuTensor.of(in);
        CpuTensor destination = CpuTensor.of(out);
        int rows = source.shape().rows();
        int sourceCols = source.shape().cols();
        int cols = destination.shape().cols();
        Arguments.require(
                source.dtype() == destination.dtype() && destination.shape().rows() == rows,
                "copying columns of " + in + " into " + out);
        Arguments.require(
                from >= 0 && from + count <= sourceCols && to >= 0 && to + count <= cols,
                "columns " + from + " and " + to + ", " + count + " each, leave " + in + " or " + out);
        boolean integers = source.dtype() == DType.INT32;
        for (int r = 0; r < rows; r++) {
            System.arraycopy(
                    integers ? source.ints() : source.floats(),
                    source.offset() + r * sourceCols + from,
                    integers ? destination.ints() : destination.floats(),
                    destination.offset() + r * cols + to,
                    count);
        }
    }

    @Override
    public void add(Tensor a, Tensor b, Tensor out) {
        CpuTensor left = CpuTensor.of(a);
        CpuTensor right = Arguments.floats(b, "b", left.elements());
        CpuTensor to = Arguments.floats(out, "out", left.elements());
        float[] x = left.floats();
        float[] y = right.floats();
        float[] z = to.floats();
        int xo = left.offset();
        int yo = right.offset();
        int zo = to.offset();
        int n = to.size();
        for (int i = 0; i < n; i++) {
            z[zo + i] = x[xo + i] + y[yo + i];
        }
        Bf16Rounding.roundIfNeeded(to, zo, n);
    }

    @Override
    public void addScaled(Tensor a, float factor, Tensor out) {
        CpuTensor from = CpuTensor.of(a);
        CpuTensor to = Arguments.floats(out, "out", from.elements());
        float[] x = from.floats();
        float[] z = to.floats();
        int xo = from.offset();
        int zo = to.offset();
        int n = to.size();
        for (int i = 0; i < n; i++) {
            z[zo + i] += factor * x[xo + i];
        }
        Bf16Rounding.roundIfNeeded(to, zo, n);
    }

    @Override
    public void addBias(Tensor bias, Tensor out) {
        CpuTensor to = CpuTensor.of(out);
        int cols = to.shape().cols();
        CpuTensor from = Arguments.floats(bias, "bias", cols);
        float[] b = from.floats();
        float[] z = to.floats();
        int bo = from.offset();
        for (int row = 0; row < to.shape().rows(); row++) {
            int zo = to.offset() + row * cols;
            for (int c = 0; c < cols; c++) {
                z[zo + c] += b[bo + c];
            }
        }
        Bf16Rounding.roundIfNeeded(to, to.offset(), to.size());
    }

    @Override
    public void biasBackward(Tensor dy, Tensor dbias) {
        CpuTensor from = CpuTensor.of(dy);
        int cols = from.shape().cols();
        CpuTensor to = Arguments.floats(dbias, "dbias", cols);
        float[] x = from.floats();
        float[] sums = new float[cols];
        for (int row = 0; row < from.shape().rows(); row++) {
            int xo = from.offset() + row * cols;
            for (int c = 0; c < cols; c++) {
                sums[c] += x[xo + c];
            }
        }
        float[] z = to.floats();
        int zo = to.offset();
        for (int c = 0; c < cols; c++) {
            z[zo + c] += sums[c];
        }
        Bf16Rounding.roundIfNeeded(to, zo, cols);
    }

    @Override
    public void embedding(Tensor tokens, Tensor table, Tensor out) {
        CpuEmbedding.forward(tokens, table, out);
    }

    @Override
    public void embeddingBackward(Tensor tokens, Tensor dout, Tensor dtable) {
        CpuEmbedding.backward(tokens, dout, dtable);
    }

    @Override
    public void rope(Tensor qkv, int heads, int kvHeads, int headDim, Tensor positions, double theta, boolean inverse) {
        rope.rotate(qkv, heads, kvHeads, headDim, positions, theta, inverse);
    }

    @Override
    public void addGated(Tensor gate, Tensor y, Tensor out) {
        CpuGate.addGated(gate, y, out);
    }

    @Override
    public void addGatedBackward(Tensor gate, Tensor y, Tensor dout, Tensor dy, Tensor dgate) {
        CpuGate.addGatedBackward(gate, y, dout, dy, dgate);
    }
}
