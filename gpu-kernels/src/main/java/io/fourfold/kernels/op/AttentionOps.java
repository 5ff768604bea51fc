package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Causal, document-masked, grouped-query attention. Token i of a sequence attends to j with
 * {@code documentStart[i] <= j <= i}; all-zero starts give plain causal attention.
 */
public interface AttentionOps {
    /**
     * @param qkv [B*S, (heads + 2*kvHeads) * headDim], queries and keys already rotated
     * @param documentStart INT32 [B*S], index within the sequence of the first token of the token's own document
     * @param out [B*S, heads*headDim]
     * @param logSumExp FP32 [B, heads, S], natural log, kept for backward and for merging over context ranks
     */
    void forward(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp);

    /** Writes dqkv (same layout as qkv). */
    void backward(
            AttentionShape shape,
            Tensor dout,
            Tensor qkv,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp,
            Tensor dqkv);
}
