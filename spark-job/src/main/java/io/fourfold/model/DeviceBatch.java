package io.fourfold.model;

import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.moe.LocalTokens;
import org.jspecify.annotations.Nullable;

/**
 * This rank's part of a micro-batch on the device. B * S tokens in all, of which the context rank has C and this rank T;
 * without tensor and context parallelism all three are the same.
 *
 * @param embedded the context rank's tokens
 * @param labels INT32 [C]
 * @param documentStart INT32 [B * S]
 * @param positions INT32 [C]
 * @param contextRowIds INT32 [C]
 * @param rowIds INT32 [T]
 * @param queries the tokens of each sequence that the context rank has
 * @param contextOrder null without context parallelism
 * @param routed this rank's own tokens
 */
record DeviceBatch(
        int samples,
        int sequenceLength,
        Embedded embedded,
        Tensor labels,
        Tensor documentStart,
        Tensor positions,
        Tensor contextRowIds,
        Tensor rowIds,
        TokenChunks queries,
        @Nullable ContextOrder contextOrder,
        LocalTokens routed) {
    /**
     * Tokens whose embedding this rank has.
     *
     * @param tokens INT32 [n], counted from the first one of this rank's part of the vocabulary
     * @param rows INT32 [n], their rows among the context rank's; null when it has them all
     * @param ownOfRow INT32 [C], the other way, -1 where another rank has the embedding; null likewise
     */
    record Embedded(
            Tensor tokens, @Nullable Tensor rows, @Nullable Tensor ownOfRow) {}

    /**
     * Between the order of the sequences and that of a gather over the context ranks.
     *
     * @param gathered INT32 [B * S], row of the sequences at each place of the gather
     * @param sequences INT32 [B * S], place in the gather of each row of the sequences
     */
    record ContextOrder(Tensor gathered, Tensor sequences) {}

    /** Rows of this rank. */
    int tokenCount() {
        return routed.count();
    }

    /** Rows of the context rank. */
    int contextTokens() {
        return samples * queries.tokens();
    }
}
