package io.fourfold.kernels.op;

/**
 * Scalars of one AdamW update (decoupled weight decay).
 *
 * @param step 1-based count of updates, for bias correction
 * @param gradScale factor on the gradient, at most 1: the clipping coefficient
 */
public record AdamWStep(
        long step, float learningRate, float beta1, float beta2, float epsilon, float weightDecay, float gradScale) {
    public AdamWStep withoutDecay() {
        return new AdamWStep(step, learningRate, beta1, beta2, epsilon, 0f, gradScale);
    }
}
