package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.op.RouterSpec.Score;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Gradient of {@link CpuRouter} in the logits. The selection itself has no gradient. With u = dweights * scale:
 *
 * <pre>
 * chosen scores      ds_j = u_j, or (u_j - sum_i u_i p_i) / S with p_j = s_j / S when normalizing
 * softmax over all   dz_e = s_e (ds_e - sum_i ds_i s_i)
 * softmax of chosen  dz_j = p_j (u_j - sum_i u_i p_i)
 * sigmoid            dz_e = ds_e s_e (1 - s_e)
 * </pre>
 */
final class CpuRouterBackward {
    private final RouterSpec spec;
    private final float[] chosen;
    private final float[] upstream;
    private final float[] scoreGradient;

    CpuRouterBackward(RouterSpec spec) {
        this.spec = spec;
        this.chosen = new float[spec.topK()];
        this.upstream = new float[spec.topK()];
        this.scoreGradient = new float[spec.experts()];
    }

    void run(Tensor logits, Tensor scores, Tensor experts, Tensor dweights, @Nullable Tensor dscores, Tensor dlogits) {
        int width = spec.experts();
        int k = spec.topK();
        int tokens = CpuRouter.rows(logits, width);
        CpuTensor z = Arguments.fp32(logits, "logits", (long) tokens * width);
        CpuTensor s = Arguments.fp32(scores, "scores", (long) tokens * width);
        CpuTensor e = Arguments.int32(experts, "experts", (long) tokens * k);
        CpuTensor dw = Arguments.fp32(dweights, "dweights", (long) tokens * k);
        CpuTensor extra = dscores == null ? null : Arguments.fp32(dscores, "dscores", (long) tokens * width);
        CpuTensor dz = Arguments.fp32(dlogits, "dlogits", (long) tokens * width);
        for (int t = 0; t < tokens; t++) {
            if (extra == null) {
                Arrays.fill(scoreGradient, 0f);
            } else {
                System.arraycopy(extra.floats(), extra.offset() + t * width, scoreGradient, 0, width);
            }
            for (int j = 0; j < k; j++) {
                upstream[j] = dw.floats()[dw.offset() + t * k + j] * spec.scale();
            }
            int slots = e.offset() + t * k;
            int at = t * width;
            if (spec.score() == Score.TOP_K_SOFTMAX) {
                throughScores(s.floats(), s.offset() + at, dz.floats(), dz.offset() + at);
                throughChosenSoftmax(z.floats(), z.offset() + at, e.ints(), slots, dz.floats(), dz.offset() + at);
            } else {
                throughChosenScores(s.floats(), s.offset() + at, e.ints(), slots);
                throughScores(s.floats(), s.offset() + at, dz.floats(), dz.offset() + at);
            }
        }
    }

    /** Adds the gradient of the weights to {@link #scoreGradient}. */
    private void throughChosenScores(float[] s, int so, int[] experts, int slots) {
        float divisor = 1f;
        float mean = 0f;
        if (spec.normalize()) {
            for (int j = 0; j < chosen.length; j++) {
                chosen[j] = s[so + experts[slots + j]];
            }
            divisor = Sums.sum(chosen, 0, chosen.length) + CpuRouter.LEAST_SUM;
            mean = Sums.dot(upstream, 0, chosen, 0, chosen.length) / divisor;
        }
        for (int j = 0; j < chosen.length; j++) {
            scoreGradient[experts[slots + j]] += (upstream[j] - mean) / divisor;
        }
    }

    /** Writes dz from {@link #scoreGradient}, through the softmax over all experts or the sigmoid. */
    private void throughScores(float[] s, int so, float[] dz, int dzo) {
        int width = spec.experts();
        if (spec.score() == Score.SIGMOID) {
            for (int i = 0; i < width; i++) {
                float score = s[so + i];
                dz[dzo + i] = scoreGradient[i] * score * (1f - score);
            }
            return;
        }
        float mean = Sums.dot(scoreGradient, 0, s, so, width);
        for (int i = 0; i < width; i++) {
            dz[dzo + i] = s[so + i] * (scoreGradient[i] - mean);
        }
    }

    private void throughChosenSoftmax(float[] z, int zo, int[] experts, int slots, float[] dz, int dzo) {
        for (int j = 0; j < chosen.length; j++) {
            chosen[j] = z[zo + experts[slots + j]];
        }
        SoftmaxRow.softmax(chosen, 0, chosen.length);
        float mean = Sums.dot(upstream, 0, chosen, 0, chosen.length);
        for (int j = 0; j < chosen.length; j++) {
            dz[dzo + experts[slots + j]] += chosen[j] * (upstream[j] - mean);
        }
    }
}
