package io.fourfold.kernels.comm;

import java.util.Arrays;

/**
 * Pieces of a tensor for, or from, each rank of a group, which may lie in any order.
 *
 * @param starts first element of each piece, by rank
 * @param counts elements of each piece, by rank
 */
public record Pieces(long[][] starts, long[][] counts) {
    public Pieces {
        if (starts.length != counts.length) {
            throw new IllegalArgumentException(starts.length + " ranks have starts, " + counts.length + " counts");
        }
        for (int rank = 0; rank < starts.length; rank++) {
            if (starts[rank].length != counts[rank].length) {
                throw new IllegalArgumentException("rank " + rank + " has " + starts[rank].length + " starts and "
                        + counts[rank].length + " counts");
            }
        }
    }

    /** Elements of all pieces of a rank. */
    public long elements(int rank) {
        return Arrays.stream(counts[rank]).sum();
    }

    /** First element that no piece reaches. */
    public long end() {
        long end = 0;
        for (int rank = 0; rank < starts.length; rank++) {
            for (int i = 0; i < starts[rank].length; i++) {
                end = Math.max(end, starts[rank][i] + counts[rank][i]);
            }
        }
        return end;
    }
}
