package io.fourfold.moe;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of a micro-batch that this rank routes: a run of the rows of its context rank, which are ordered by sequence.
 * Statistics and limits that are meant for whole sequences or the whole micro-batch are taken over all ranks that hold
 * tokens of it.
 *
 * @param sequences of the whole micro-batch
 * @param sequenceLength of a whole sequence
 * @param perSequence tokens of a sequence that the context rank has
 * @param first first row of the run
 * @param count rows of the run
 * @param holders the ranks that together hold the micro-batch
 * @param rowOfGathered INT32 [all tokens]: for each token in the order of the sequences, its row in a gather over the
 *     holders; null when that is its order
 * @param rows INT32 [count]: this rank's tokens in the order of the sequences; null when it has all
 */
public record LocalTokens(
        int sequences,
        int sequenceLength,
        int perSequence,
        int first,
        int count,
        Communicator holders,
        @Nullable Tensor rowOfGathered,
        @Nullable Tensor rows) {

    /** Tokens of the whole micro-batch. */
    public int total() {
        return sequences * sequenceLength;
    }

    /** True when other ranks hold tokens of the same micro-batch. */
    public boolean shared() {
        return holders.size() > 1;
    }

    /** First row here of a sequence's tokens. */
    int from(int sequence) {
        return clamp(sequence * perSequence - first);
    }

    /** One beyond the last row here of a sequence's tokens. */
    int to(int sequence) {
        return clamp((sequence + 1) * perSequence - first);
    }

    private int clamp(int row) {
        return Math.max(0, Math.min(count, row));
    }
}
