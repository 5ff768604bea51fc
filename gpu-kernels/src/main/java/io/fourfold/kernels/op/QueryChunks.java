package io.fourfold.kernels.op;

import java.util.List;

/**
 * The tokens of every sequence whose queries one attention call computes: chunks of equal length (context parallelism).
 * Rows of such a call are ordered by sequence, then chunk, then token.
 *
 * @param length tokens of a chunk
 * @param starts first token of each chunk within its sequence, ascending
 */
public record QueryChunks(int length, List<Integer> starts) {
    public QueryChunks {
        starts = List.copyOf(starts);
        int free = 0;
        for (int start : starts) {
            if (start < free || length < 1) {
                throw new IllegalArgumentException("chunks of " + length + " tokens at " + starts + " overlap");
            }
            free = start + length;
        }
    }

    /** Every token of sequences of the given length. */
    public static QueryChunks whole(int sequence) {
        return new QueryChunks(sequence, List.of(0));
    }

    /** Query tokens of one sequence. */
    public int tokens() {
        return length * starts.size();
    }
}
