package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Causal, document-masked, grouped-query attention. Token i of a sequence attends to j with
 * {@code documentStart[i] <= j <= i}; all-zero starts give plain causal attention.
 */
public interface AttentionOps {
    /**
     * @param qkv [B*S, (heads + 2*kvHeads) * headDim], queries and keys already rotated
     * @param documentStart INT32 [B*S], index within the sequence of the first token of the token's own document; never
     *     decreases within a sequence
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

    /**
     * Attention of some queries to the keys of their whole sequences (context parallelism).
     *
     * @param shape of whole sequences
     * @param queries which tokens are queries, Q of each sequence
     * @param qkv [B*Q, (heads + 2*kvHeads) * headDim]; only the queries are read
     * @param keyValues [B*S, 2*kvHeads*headDim], keys and values of all tokens
     * @param documentStart INT32 [B*S]
     * @param out [B*Q, heads*headDim]
     * @param logSumExp FP32 [B, heads, Q]
     * @throws UnsupportedOperationException when the backend has no kernel for it
     */
    default void forward(
            AttentionShape shape,
            QueryChunks queries,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        throw new UnsupportedOperationException("this backend has no attention of chunks (context parallelism) yet");
    }

    /**
     * The backward of chunks. Writes the query columns of dqkv, and what these queries add to the gradient of all keys and
     * values.
     *
     * @param dqkv as qkv; columns of keys and values stay untouched
     * @param dkeyValues [B*S, 2*kvHeads*headDim], written; to be summed over the ranks of the context
     */
    default void backward(
            AttentionShape shape,
            QueryChunks queries,
            Tensor dout,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp,
            Tensor dqkv,
            Tensor dkeyValues) {
        throw new UnsupportedOperationException("this backend has no attention of chunks (context parallelism) yet");
    }
}
