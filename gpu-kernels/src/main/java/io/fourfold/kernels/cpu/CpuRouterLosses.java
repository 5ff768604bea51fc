package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Auxiliary losses of the router: load balance (arXiv:2101.03961 section 2.2) and z-loss (arXiv:2202.08906 section 3).
 * With p = s, or s / sum(s) when normalizing, and f the fraction:
 *
 * <pre>
 * balance   dp_e = factor f_e;   ds_e = dp_e, or (dp_e - sum_i dp_i p_i) / sum(s) when normalizing
 * z-loss    L = sum_t lse_t^2;   dz_e = factor * 2 lse softmax(z)_e
 * </pre>
 */
final class CpuRouterLosses {
    private CpuRouterLosses() {}

    static void balanceLoss(
            Tensor scores,
            boolean normalize,
            @Nullable Tensor fraction,
            float factor,
            Tensor dscores,
            Tensor scoreSums) {
        int width = Math.toIntExact(scoreSums.elements());
        CpuTensor sums = Arguments.fp32(scoreSums, "scoreSums", width);
        int tokens = CpuRouter.rows(scores, width);
        CpuTensor s = Arguments.fp32(scores, "scores", (long) tokens * width);
        CpuTensor ds = Arguments.fp32(dscores, "dscores", (long) tokens * width);
        float[] gradient = new float[width];
        if (fraction != null) {
            CpuTensor f = Arguments.fp32(fraction, "fraction", width);
            for (int i = 0; i < width; i++) {
                gradient[i] = factor * f.floats()[f.offset() + i];
            }
        }
        float[] p = new float[width];
        for (int t = 0; t < tokens; t++) {
            System.arraycopy(s.floats(), s.offset() + t * width, p, 0, width);
            float sum = normalize ? divideBySum(p) : 1f;
            for (int i = 0; i < width; i++) {
                sums.floats()[sums.offset() + i] += p[i];
            }
            if (fraction != null) {
                float mean = normalize ? Sums.dot(gradient, 0, p, 0, width) : 0f;
                int at = ds.offset() + t * width;
                for (int i = 0; i < width; i++) {
                    ds.floats()[at + i] += (gradient[i] - mean) / sum;
                }
            }
        }
    }

    private static float divideBySum(float[] p) {
        float sum = Sums.sum(p, 0, p.length) + CpuRouter.LEAST_SUM;
        for (int i = 0; i < p.length; i++) {
            p[i] /= sum;
        }
        return sum;
    }

    static void zLoss(Tensor logits, float factor, Tensor out, Tensor dlogits) {
        CpuTensor z = Arguments.fp32(logits, "logits", logits.elements());
        CpuTensor dz = Arguments.fp32(dlogits, "dlogits", z.elements());
        CpuTensor total = Arguments.fp32(out, "out", 1);
        int width = z.shape().cols();
        float[] row = new float[width];
        float[] sumAndMax = new float[2];
        double squares = 0;
        for (int t = 0; t < z.shape().rows(); t++) {
            int at = z.offset() + t * width;
            System.arraycopy(z.floats(), at, row, 0, width);
            SoftmaxRow.exponentiate(row, 0, width, sumAndMax);
            float lse = SoftmaxRow.logSumExp(sumAndMax[1], sumAndMax[0]);
            squares += (double) lse * lse;
            float slope = factor * 2f * lse / sumAndMax[0];
            int to = dz.offset() + t * width;
            for (int i = 0; i < width; i++) {
                dz.floats()[to + i] += slope * row[i];
            }
        }
        total.floats()[total.offset()] += (float) squares;
    }
}
