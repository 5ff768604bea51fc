package io.fourfold.kernels.op;

import java.util.List;

/**
 * Some tokens of every sequence, as chunks of equal length: the queries or the keys of one attention call (context
 * parallelism). Rows of such a call are ordered by sequence, then chunk, then token.
 *
 * @param length tokens of a chunk
 * @param starts first token of each chunk within its sequence, ascending
 */
public record TokenChunks(int length, List<Integer> starts) {
    public TokenChunks {
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
    public static TokenChunks whole(int sequence) {
        return new TokenChunks(sequence, List.of(0));
    }

    /** Tokens of one sequence. */
    public int tokens() {
        return length * starts.size();
    }

    /** How many tokens of the chunks come before a token of the sequence: the row of the first one at or after it. */
    public int rowsBefore(int token) {
        int rows = 0;
        for (int start : starts) {
            rows += Math.max(0, Math.min(length, token - start));
        }
        return rows;
    }
}
