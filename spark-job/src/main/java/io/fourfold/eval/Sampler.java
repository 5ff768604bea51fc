package io.fourfold.eval;

import java.util.Comparator;
import java.util.function.IntToDoubleFunction;
import java.util.stream.IntStream;

/** Chooses a token from logits: temperature, then top-k, then top-p, then one uniform draw. */
final class Sampler {
    private final SamplingOptions options;
    private final IntToDoubleFunction uniform;

    /**
     * @param uniform the draw in [0, 1) of the n-th new token
     */
    Sampler(SamplingOptions options, IntToDoubleFunction uniform) {
        this.options = options;
        this.uniform = uniform;
    }

    /**
     * Chooses the n-th new token.
     *
     * @throws IllegalArgumentException when a logit is NaN or infinite
     */
    int next(float[] logits, int n) {
        for (int i = 0; i < logits.length; i++) {
            if (!Float.isFinite(logits[i])) {
                throw new IllegalArgumentException(
                        "the model gave " + logits[i] + " for id " + i
                                + ": its weights are not finite or overflow; look at the run's loss and use an earlier checkpoint");
            }
        }
        if (options.temperature() == 0) {
            return IntStream.range(0, logits.length).reduce(0, (a, b) -> logits[b] > logits[a] ? b : a);
        }
        // Most probable first; equal ones by id, so that the choice is the same everywhere.
        int[] order = IntStream.range(0, logits.length)
                .boxed()
                .sorted(Comparator.<Integer>comparingDouble(i -> -logits[i]).thenComparing(i -> i))
                .mapToInt(Integer::intValue)
                .toArray();
        int candidates = options.topK() == 0 ? order.length : Math.min(options.topK(), order.length);
        double[] weights = new double[candidates];
        double total = 0;
        for (int i = 0; i < candidates; i++) {
            weights[i] = Math.exp((logits[order[i]] - (double) logits[order[0]]) / options.temperature());
            total += weights[i];
        }
        int kept = nucleus(weights, total);
        double mass = 0;
        for (int i = 0; i < kept; i++) {
            mass += weights[i];
        }
        double target = uniform.applyAsDouble(n) * mass;
        for (int i = 0; i < kept - 1; i++) {
            target -= weights[i];
            if (target < 0) {
                return order[i];
            }
        }
        return order[kept - 1];
    }

    /** How many of the descending weights reach topP of their sum. */
    private int nucleus(double[] weights, double total) {
        double sum = 0;
        for (int i = 0; i < weights.length; i++) {
            sum += weights[i];
            if (sum >= options.topP() * total) {
                return i + 1;
            }
        }
        return weights.length;
    }
}
