package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Causal, document-masked, grouped-query attention. Token i of a sequence attends to j with
 * {@code documentStart[i] <= j <= i}; all-zero starts give plain causal attention.
 */
public interface AttentionOps {
    /** Why a backend cannot merge parts. */
    String NO_PARTS = "this backend has no attention of parts of the keys (parallel.context_exchange: ring) yet;"
            + " set parallel.context_exchange to gather, or run.backend to cpu";

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
            TokenChunks queries,
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
            TokenChunks queries,
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

    /**
     * Attention of some queries to some keys, merged into what calls for other keys found before (ring attention,
     * arXiv:2310.01889). With (o1, l1) what is there and (o2, l2) the output and log-sum-exp over the new keys alone, the
     * row becomes
     *
     * <pre>
     * l = log(exp(l1) + exp(l2));  o = exp(l1 - l) o1 + exp(l2 - l) o2
     * </pre>
     *
     * (FlashAttention-2, arXiv:2307.08691 section 3.1.1, of normalized outputs.) Rows that see none of the keys stay as they
     * are. Begin with zeros in out and negative infinity in logSumExp; after calls for all tokens of the sequences both are
     * those of the undivided attention.
     *
     * @param shape of whole sequences
     * @param queries which tokens are queries, Q of each sequence
     * @param keys which tokens are keys, K of each sequence
     * @param qkv [B*Q, (heads + 2*kvHeads) * headDim]; only the queries are read
     * @param keyValues [B*K, 2*kvHeads*headDim]
     * @param documentStart INT32 [B*S]
     * @param out FP32 [B*Q, heads*headDim], updated
     * @param logSumExp FP32 [B, heads, Q], updated
     * @throws UnsupportedOperationException when the backend has no kernel for it
     */
    default void forwardPart(
            AttentionShape shape,
            TokenChunks queries,
            TokenChunks keys,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        throw new UnsupportedOperationException(NO_PARTS);
    }

    /**
     * What some keys add to the gradients: with P = exp(s - logSumExp) the probabilities among all keys, which need nothing
     * of the other keys, and delta = rowsum(dout o out).
     *
     * @param out [B*Q, heads*headDim], merged over all keys
     * @param logSumExp FP32 [B, heads, Q], merged over all keys
     * @param dqkv FP32, shape of qkv; the query columns are added to, the others stay untouched
     * @param dkeyValues FP32 [B*K, 2*kvHeads*headDim], added to
     */
    default void backwardPart(
            AttentionShape shape,
            TokenChunks queries,
            TokenChunks keys,
            Tensor dout,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp,
            Tensor dqkv,
            Tensor dkeyValues) {
        throw new UnsupportedOperationException(NO_PARTS);
    }
}
