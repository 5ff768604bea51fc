package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.op.RouterSpec.Score;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Chooses k of E experts for every token, in FP32. With logits z, scores s and a bias b that only selects
 * (arXiv:2408.15664):
 *
 * <pre>
 * SOFTMAX_TOP_K   s = softmax(z)   select by s + b   w_j = s_j   (/ sum of the chosen, when normalizing)
 * TOP_K_SOFTMAX   s = softmax(z)   select by z + b   w_j = softmax over the chosen z
 * SIGMOID         s = sigmoid(z)   select by s + b   w_j = s_j   (/ sum of the chosen + 1e-20, when normalizing)
 * </pre>
 *
 * and w scaled by {@code spec.scale()} in the end. With groups (arXiv:2412.19437 section 2.1.2), only experts of the
 * best groupTopK groups take part. Ties go to the lower index.
 */
final class CpuRouter {
    /** Keeps a token whose sigmoids all underflow finite; too small to change any other sum. */
    static final float LEAST_SUM = 1e-20f;

    private final RouterSpec spec;
    private final float[] row;
    private final float[] selection;
    private final boolean[] taken;
    private final int[] chosen;
    private final float[] chosenWeights;

    CpuRouter(RouterSpec spec) {
        this.spec = spec;
        this.row = new float[spec.experts()];
        this.selection = new float[spec.experts()];
        this.taken = new boolean[spec.experts()];
        this.chosen = new int[spec.topK()];
        this.chosenWeights = new float[spec.topK()];
    }

    void route(Tensor logits, @Nullable Tensor expertBias, Tensor scores, Tensor experts, Tensor weights) {
        int width = spec.experts();
        int k = spec.topK();
        int tokens = rows(logits, width);
        CpuTensor z = Arguments.fp32(logits, "logits", (long) tokens * width);
        CpuTensor bias = expertBias == null ? null : Arguments.fp32(expertBias, "expertBias", width);
        CpuTensor s = Arguments.fp32(scores, "scores", (long) tokens * width);
        CpuTensor e = Arguments.int32(experts, "experts", (long) tokens * k);
        CpuTensor w = Arguments.fp32(weights, "weights", (long) tokens * k);
        for (int t = 0; t < tokens; t++) {
            System.arraycopy(z.floats(), z.offset() + t * width, row, 0, width);
            System.arraycopy(row, 0, selection, 0, width);
            score(row);
            System.arraycopy(row, 0, s.floats(), s.offset() + t * width, width);
            select(bias);
            weigh(z.floats(), z.offset() + t * width);
            System.arraycopy(chosen, 0, e.ints(), e.offset() + t * k, k);
            System.arraycopy(chosenWeights, 0, w.floats(), w.offset() + t * k, k);
        }
    }

    static int rows(Tensor matrix, int width) {
        Arguments.require(matrix.elements() % width == 0, matrix + " does not have rows of " + width + " experts");
        return Math.toIntExact(matrix.elements() / width);
    }

    /** Replaces logits by scores. */
    private void score(float[] values) {
        if (spec.score() == Score.SIGMOID) {
            for (int i = 0; i < values.length; i++) {
                values[i] = FloatExp.sigmoid(values[i]);
            }
        } else {
            SoftmaxRow.softmax(values, 0, values.length);
        }
    }

    /** Fills {@link #chosen}; {@link #selection} holds the logits on entry, {@link #row} the scores. */
    private void select(@Nullable CpuTensor bias) {
        if (spec.score() != Score.TOP_K_SOFTMAX) {
            System.arraycopy(row, 0, selection, 0, row.length);
        }
        if (bias != null) {
            for (int i = 0; i < selection.length; i++) {
                selection[i] += bias.floats()[bias.offset() + i];
            }
        }
        Arrays.fill(taken, false);
        if (spec.groups() > 1) {
            excludeWeakGroups();
        }
        for (int j = 0; j < chosen.length; j++) {
            chosen[j] = takeBest(0, selection.length);
        }
    }

    /** Marks the experts of all groups but the best groupTopK as taken. */
    private void excludeWeakGroups() {
        int groupSize = spec.experts() / spec.groups();
        int best = spec.topK() / spec.groupTopK();
        float[] groupScores = new float[spec.groups()];
        for (int g = 0; g < spec.groups(); g++) {
            for (int i = 0; i < best; i++) {
                groupScores[g] += selection[takeBest(g * groupSize, (g + 1) * groupSize)];
            }
        }
        boolean[] allowed = new boolean[spec.groups()];
        for (int i = 0; i < spec.groupTopK(); i++) {
            allowed[best(groupScores, allowed, 0, groupScores.length)] = true;
        }
        for (int i = 0; i < taken.length; i++) {
            taken[i] = !allowed[i / groupSize];
        }
    }

    private int takeBest(int from, int to) {
        int best = best(selection, taken, from, to);
        taken[best] = true;
        return best;
    }

    /** The lowest index of the largest value not excluded. */
    private static int best(float[] values, boolean[] excluded, int from, int to) {
        int best = -1;
        for (int i = from; i < to; i++) {
            if (!excluded[i] && (best < 0 || values[i] > values[best])) {
                best = i;
            }
        }
        return best;
    }

    private void weigh(float[] logits, int offset) {
        boolean fromLogits = spec.score() == Score.TOP_K_SOFTMAX;
        for (int j = 0; j < chosen.length; j++) {
            chosenWeights[j] = fromLogits ? logits[offset + chosen[j]] : row[chosen[j]];
        }
        float divisor = 1f;
        if (fromLogits) {
            SoftmaxRow.softmax(chosenWeights, 0, chosenWeights.length);
        } else if (spec.normalize()) {
            divisor = Sums.sum(chosenWeights, 0, chosenWeights.length) + LEAST_SUM;
        }
        for (int j = 0; j < chosen.length; j++) {
            chosenWeights[j] = chosenWeights[j] / divisor * spec.scale();
        }
    }
}
