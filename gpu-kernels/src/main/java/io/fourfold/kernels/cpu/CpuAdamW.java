package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * AdamW (arXiv:1711.05101), element by element in FP32:
 *
 * <pre>
 * g = grad * gradScale;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g g
 * w -= lr * ( (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + wd * w )
 * </pre>
 */
final class CpuAdamW implements OptimizerOps {
    @Override
    public void adamW(
            Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, @Nullable Tensor rounded, AdamWStep step) {
        CpuTensor weights = Arguments.fp32(weight, "weight", weight.elements());
        CpuTensor gradients = Arguments.fp32(grad, "grad", weights.elements());
        CpuTensor firsts = Arguments.fp32(moment1, "moment1", weights.elements());
        CpuTensor seconds = Arguments.fp32(moment2, "moment2", weights.elements());
        Arguments.require(step.step() >= 1, "AdamW counts steps from 1, got " + step.step());
        float[] g = gradients.floats();
        int n = weights.size();
        updateMoments(g, gradients.offset(), firsts, seconds, step, n);
        float correction1 = (float) (1 - Math.pow(step.beta1(), step.step()));
        float correction2 = (float) (1 - Math.pow(step.beta2(), step.step()));
        float lr = step.learningRate();
        float eps = step.epsilon();
        float decay = step.weightDecay();
        float[] w = weights.floats();
        float[] m = firsts.floats();
        float[] v = seconds.floats();
        int wo = weights.offset();
        int mo = firsts.offset();
        int vo = seconds.offset();
        for (int i = 0; i < n; i++) {
            float denominator = (float) Math.sqrt(v[vo + i] / correction2) + eps;
            w[wo + i] -= lr * ((m[mo + i] / correction1) / denominator + decay * w[wo + i]);
        }
        if (rounded != null) {
            CpuTensor copy = CpuTensor.of(rounded);
            Arguments.require(
                    copy.dtype() == DType.BF16 && copy.size() == n, "rounded must be BF16 of " + n + ", got " + copy);
            for (int i = 0; i < n; i++) {
                copy.floats()[copy.offset() + i] = BFloat16.round(w[wo + i]);
            }
        }
    }

    private static void updateMoments(float[] g, int go, CpuTensor first, CpuTensor second, AdamWStep step, int n) {
        float[] m = first.floats();
        float[] v = second.floats();
        int mo = first.offset();
        int vo = second.offset();
        float scale = step.gradScale();
        float b1 = step.beta1();
        float b2 = step.beta2();
        float c1 = 1f - b1;
        float c2 = 1f - b2;
        for (int i = 0; i < n; i++) {
            float x = g[go + i] * scale;
            m[mo + i] = b1 * m[mo + i] + c1 * x;
            v[vo + i] = b2 * v[vo + i] + c2 * x * x;
        }
    }

    @Override
    public void addSquaredNorm(Tensor values, Tensor out) {
        CpuTensor from = CpuTensor.of(values);
        CpuTensor to = Arguments.fp32(out, "out", 1);
        float[] x = from.floats();
        int start = from.offset();
        int end = start + from.size();
        double s0 = 0;
        double s1 = 0;
        double s2 = 0;
        double s3 = 0;
        int i = start;
        for (; i + 4 <= end; i += 4) {
            s0 += (double) x[i] * x[i];
            s1 += (double) x[i + 1] * x[i + 1];
            s2 += (double) x[i + 2] * x[i + 2];
            s3 += (double) x[i + 3] * x[i + 3];
        }
        for (; i < end; i++) {
            s0 += (double) x[i] * x[i];
        }
        to.floats()[to.offset()] += (float) ((s0 + s1) + (s2 + s3));
    }
}
