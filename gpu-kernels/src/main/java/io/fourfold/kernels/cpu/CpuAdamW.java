package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.SplitFloat;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.op.SegmentAmax;
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
    /** Split weights are joined, updated and split again so many at a time. */
    private static final int CHUNK = 1024;

    private final float[] joined = new float[CHUNK];

    @Override
    public void adamW(
            Tensor weight, @Nullable Tensor remainder, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step) {
        long n = weight.elements();
        CpuTensor gradients = Arguments.fp32(grad, "grad", n);
        CpuTensor firsts = Arguments.fp32(moment1, "moment1", n);
        CpuTensor seconds = Arguments.fp32(moment2, "moment2", n);
        Arguments.require(step.step() >= 1, "AdamW counts steps from 1, got " + step.step());
        int size = gradients.size();
        updateMoments(gradients.floats(), gradients.offset(), firsts, seconds, step, size);
        if (remainder == null) {
            CpuTensor weights = Arguments.fp32(weight, "weight", n);
            updateWeights(weights.floats(), weights.offset(), firsts, seconds, 0, step, size);
            return;
        }
        CpuTensor heads = Arguments.bf16(weight, "weight", n);
        CpuTensor rests = Arguments.int16(remainder, "remainder", n);
        float[] h = heads.floats();
        int[] r = rests.ints();
        for (int done = 0; done < size; done += CHUNK) {
            int count = Math.min(CHUNK, size - done);
            int ho = heads.offset() + done;
            int ro = rests.offset() + done;
            SplitFloat.join(h, ho, r, ro, joined, 0, count);
            updateWeights(joined, 0, firsts, seconds, done, step, count);
            SplitFloat.split(joined, 0, h, ho, r, ro, count);
        }
    }

    @Override
    public void adamW(Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step, SegmentAmax largest) {
        adamW(weight, null, grad, moment1, moment2, step);
        CpuTensor weights = CpuTensor.of(weight);
        CpuTensor amax = CpuTensor.of(largest.amax());
        long[] starts = largest.starts();
        Arguments.require(starts[starts.length - 1] == weight.elements(), "segments do not cover " + weight);
        for (int segment = 0; segment + 1 < starts.length; segment++) {
            float found = amax.floats()[amax.offset() + segment];
            for (int i = (int) starts[segment]; i < starts[segment + 1]; i++) {
                float magnitude = Math.abs(weights.floats()[weights.offset() + i]);
                found = Float.isNaN(magnitude) ? Float.POSITIVE_INFINITY : Math.max(found, magnitude);
            }
            amax.floats()[amax.offset() + segment] = found;
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

    /** Of {@code n} weights, whose moments start at element {@code from}. */
    private static void updateWeights(
            float[] w, int wo, CpuTensor first, CpuTensor second, int from, AdamWStep step, int n) {
        float[] m = first.floats();
        float[] v = second.floats();
        int mo = first.offset() + from;
        int vo = second.offset() + from;
        float correction1 = (float) (1 - Math.pow(step.beta1(), step.step()));
        float correction2 = (float) (1 - Math.pow(step.beta2(), step.step()));
        float lr = step.learningRate();
        float eps = step.epsilon();
        float decay = step.weightDecay();
        for (int i = 0; i < n; i++) {
            float denominator = (float) Math.sqrt(v[vo + i] / correction2) + eps;
            w[wo + i] -= lr * ((m[mo + i] / correction1) / denominator + decay * w[wo + i]);
        }
    }

    @Override
    public void split(Tensor values, Tensor weight, @Nullable Tensor remainder) {
        long n = values.elements();
        CpuTensor from = Arguments.fp32(values, "values", n);
        CpuTensor heads = Arguments.bf16(weight, "weight", n);
        CpuTensor rests = remainder == null ? null : Arguments.int16(remainder, "remainder", n);
        int[] unkept = new int[rests == null ? CHUNK : 0];
        for (int done = 0; done < from.size(); done += CHUNK) {
            int count = Math.min(CHUNK, from.size() - done);
            SplitFloat.split(
                    from.floats(),
                    from.offset() + done,
                    heads.floats(),
                    heads.offset() + done,
                    rests == null ? unkept : rests.ints(),
                    rests == null ? 0 : rests.offset() + done,
                    count);
        }
    }

    @Override
    public void join(Tensor weight, Tensor remainder, Tensor values) {
        long n = values.elements();
        CpuTensor heads = Arguments.bf16(weight, "weight", n);
        CpuTensor rests = Arguments.int16(remainder, "remainder", n);
        CpuTensor to = Arguments.fp32(values, "values", n);
        SplitFloat.join(
                heads.floats(), heads.offset(), rests.ints(), rests.offset(), to.floats(), to.offset(), to.size());
    }

    @Override
    public void sumSquares(Tensor values, long[] starts, Tensor out) {
        SquareSums.of(values, starts, out);
    }

    @Override
    public void addSquaredNorm(Tensor values, Tensor out) {
        CpuTensor from = CpuTensor.of(values);
        CpuTensor to = Arguments.fp32(out, "out", 1);
        to.floats()[to.offset()] += (float) SquaredNorm.of(from.floats(), from.offset(), from.size());
    }
}
