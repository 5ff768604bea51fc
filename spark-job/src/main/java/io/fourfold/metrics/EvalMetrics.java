package io.fourfold.metrics;

/**
 * One validation.
 *
 * @param loss mean cross-entropy per token, nats
 * @param tokens tokens scored
 */
public record EvalMetrics(int step, double loss, long tokens, double seconds) {
    public double perplexity() {
        return Math.exp(loss);
    }
}
