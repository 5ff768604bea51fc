package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;

/** RMSNorm (arXiv:1910.07467) of rows and of heads, by {@link CpuRmsNorm}. */
final class CpuNormOps implements NormOps {
    @Override
    public void rmsNorm(Tensor x, Tensor weight, float eps, Tensor y, Tensor rstd) {
        CpuTensor in = CpuTensor.of(x);
        int width = in.shape().cols();
        int rows = in.shape().rows();
        CpuTensor w = Arguments.fp32(weight, "weight", width);
        CpuTensor out = Arguments.floats(y, "y", in.elements());
        CpuTensor scale = Arguments.fp32(rstd, "rstd", rows);
        for (int t = 0; t < rows; t++) {
            float r = CpuRmsNorm.forward(
                    in.floats(),
                    in.offset() + t * width,
                    w.floats(),
                    w.offset(),
                    width,
                    eps,
                    out.floats(),
                    out.offset() + t * width);
            scale.floats()[scale.offset() + t] = r;
        }
        Bf16Rounding.roundIfNeeded(out, out.offset(), out.size());
    }

    @Override
    public void rmsNormBackward(
            Tensor dy, Tensor x, Tensor weight, Tensor rstd, Tensor dx, boolean accumulate, Tensor dweight) {
        CpuTensor in = CpuTensor.of(x);
        int width = in.shape().cols();
        int rows = in.shape().rows();
        CpuTensor dOut = Arguments.floats(dy, "dy", in.elements());
        CpuTensor w = Arguments.fp32(weight, "weight", width);
        CpuTensor scale = Arguments.fp32(rstd, "rstd", rows);
        CpuTensor dIn = Arguments.floats(dx, "dx", in.elements());
        CpuTensor dW = Arguments.fp32(dweight, "dweight", width);
        CpuRmsNorm norm = new CpuRmsNorm(width);
        for (int t = 0; t < rows; t++) {
            int at = t * width;
            float r = scale.floats()[scale.offset() + t];
            norm.backward(dOut, dOut.offset() + at, in, in.offset() + at, w, r, dIn, dIn.offset() + at, accumulate, dW);
        }
        Bf16Rounding.roundIfNeeded(dIn, dIn.offset(), dIn.size());
    }

    @Override
    public void headNorm(
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            float eps,
            Tensor y,
            Tensor rstd) {
        Heads layout = new Heads(qkv, heads, kvHeads);
        CpuTensor in = CpuTensor.of(qkv);
        CpuTensor wq = Arguments.fp32(queryWeight, "queryWeight", layout.dim);
        CpuTensor wk = Arguments.fp32(keyWeight, "keyWeight", layout.dim);
        CpuTensor out = Arguments.floats(y, "y", in.elements());
        CpuTensor scale = Arguments.fp32(rstd, "rstd", (long) layout.tokens * layout.normed);
        for (int t = 0; t < layout.tokens; t++) {
            int row = t * layout.width;
            for (int head = 0; head < layout.normed; head++) {
                CpuTensor w = head < heads ? wq : wk;
                int at = row + head * layout.dim;
                float r = CpuRmsNorm.forward(
                        in.floats(),
                        in.offset() + at,
                        w.floats(),
                        w.offset(),
                        layout.dim,
                        eps,
                        out.floats(),
                        out.offset() + at);
                scale.floats()[scale.offset() + t * layout.normed + head] = r;
            }
            layout.copyValues(in, out, row);
        }
        Bf16Rounding.roundIfNeeded(out, out.offset(), out.size());
    }

    @Override
    public void headNormBackward(
            Tensor dy,
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            Tensor rstd,
            Tensor dqkv,
            Tensor dqueryWeight,
            Tensor dkeyWeight) {
        Heads layout = new Heads(qkv, heads, kvHeads);
        CpuTensor in = CpuTensor.of(qkv);
        CpuTensor dOut = Arguments.floats(dy, "dy", in.elements());
        CpuTensor wq = Arguments.fp32(queryWeight, "queryWeight", layout.dim);
        CpuTensor wk = Arguments.fp32(keyWeight, "keyWeight", layout.dim);
        CpuTensor scale = Arguments.fp32(rstd, "rstd", (long) layout.tokens * layout.normed);
        CpuTensor dIn = Arguments.floats(dqkv, "dqkv", in.elements());
        CpuTensor dWq = Arguments.fp32(dqueryWeight, "dqueryWeight", layout.dim);
        CpuTensor dWk = Arguments.fp32(dkeyWeight, "dkeyWeight", layout.dim);
        CpuRmsNorm norm = new CpuRmsNorm(layout.dim);
        for (int t = 0; t < layout.tokens; t++) {
            int row = t * layout.width;
            for (int head = 0; head < layout.normed; head++) {
                boolean query = head < heads;
                int at = row + head * layout.dim;
                float r = scale.floats()[scale.offset() + t * layout.normed + head];
                norm.backward(
                        dOut,
                        dOut.offset() + at,
                        in,
                        in.offset() + at,
                        query ? wq : wk,
                        r,
                        dIn,
                        dIn.offset() + at,
                        false,
                        query ? dWq : dWk);
            }
            layout.copyValues(dOut, dIn, row);
        }
        Bf16Rounding.roundIfNeeded(dIn, dIn.offset(), dIn.size());
    }

    /** Where the heads of a packed row lie. */
    private static final class Heads {
        private final int dim;
        private final int width;
        private final int tokens;
        private final int normed;

        Heads(Tensor qkv, int heads, int kvHeads) {
            Arguments.require(qkv.dtype() != DType.INT32, "qkv must be FP32 or BF16, got " + qkv);
            width = qkv.shape().cols();
            tokens = qkv.shape().rows();
            normed = heads + kvHeads;
            dim = width / (heads + 2 * kvHeads);
            Arguments.require(
                    dim * (heads + 2 * kvHeads) == width,
                    "qkv " + qkv + " does not hold " + heads + " + 2 * " + kvHeads + " heads");
        }

        private void copyValues(CpuTensor from, CpuTensor to, int row) {
            int values = row + normed * dim;
            System.arraycopy(
                    from.floats(), from.offset() + values, to.floats(), to.offset() + values, row + width - values);
        }
    }
}
