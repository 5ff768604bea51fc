package io.fourfold.kernels.op;

/**
 * Dimensions of one attention call over {@code batch} sequences of {@code sequence} tokens.
 *
 * @param scale factor on the logits, normally 1 / sqrt(headDim)
 */
public record AttentionShape(int batch, int sequence, int heads, int kvHeads, int headDim, float scale) {
    public AttentionShape {
        if (kvHeads <= 0 || heads % kvHeads != 0) {
            throw new IllegalArgumentException("heads " + heads + " must be a multiple of kvHeads " + kvHeads);
        }
    }

    /** Width of a packed row of queries, keys and values. */
    public int qkvWidth() {
        return (heads + 2 * kvHeads) * headDim;
    }

    public int outputWidth() {
        return heads * headDim;
    }

    public int tokens() {
        return batch * sequence;
    }
}
