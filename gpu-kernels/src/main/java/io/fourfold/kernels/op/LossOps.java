package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** The output head and its loss, fused in token chunks so that the logits never exist whole. */
public interface LossOps {
    /**
     * Cross-entropy of hidden * weight^T against labels, and its gradients.
     *
     * @param hidden [T, H], operands rounded to hidden's type, FP32 accumulation
     * @param weight [V, H]
     * @param labels INT32 [T]; -1 = ignored (loss 0, no gradient)
     * @param gradScale factor on the gradient of every counted token, normally 1 / (counted tokens of the global batch)
     * @param lossPerToken FP32 [T], written
     * @param dhidden [T, H], written; null = forward only
     * @param dweight FP32 [V, H]; null = forward only
     * @param accumulate true: dweight is added to; false: it is written
     */
    void linearCrossEntropy(
            Tensor hidden,
            Tensor weight,
            Tensor labels,
            float gradScale,
            Tensor lossPerToken,
            @Nullable Tensor dhidden,
            @Nullable Tensor dweight,
            boolean accumulate);

    /** The same, dweight added to. */
    default void linearCrossEntropy(
            Tensor hidden,
            Tensor weight,
            Tensor labels,
            float gradScale,
            Tensor lossPerToken,
            @Nullable Tensor dhidden,
            @Nullable Tensor dweight) {
        linearCrossEntropy(hidden, weight, labels, gradScale, lossPerToken, dhidden, dweight, true);
    }

    /**
     * The same, dweight added to, with a weight split by rows over ranks (vocabulary parallelism); collective. No rank ever holds whole
     * logits: the ranks exchange the largest logit, the sum of exponentials and the label's logit of each token, summed in
     * rank order.
     *
     * @param weight [V / ranks, H]
     * @param lossPerToken written, the same on every rank
     * @param dhidden written: this rank's part of a sum over the group
     * @throws UnsupportedOperationException when the backend cannot
     */
    default void linearCrossEntropy(
            Tensor hidden,
            Tensor weight,
            VocabularyShard shard,
            Tensor labels,
            float gradScale,
            Tensor lossPerToken,
            @Nullable Tensor dhidden,
            @Nullable Tensor dweight) {
        throw new UnsupportedOperationException("this backend has no vocabulary-parallel cross-entropy yet");
    }
}
