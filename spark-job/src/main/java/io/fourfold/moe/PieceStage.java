package io.fourfold.moe;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pieces;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * {@link AllToAllStage} and {@link SegmentSortStage} in one, where experts are whole: the rows of each expert are a message
 * of their own, which arrives at its place in (expert, source rank) order.
 */
final class PieceStage implements RowStage {
    private final Communicator group;
    private final long[][] here;
    private final long[][] there;
    private final long[][] sentCounts;
    private final long[][] receivedCounts;
    private final int[] offsets;
    private final int sent;

    /**
     * @param sent rows of this rank for each expert of all ranks
     * @param received rows from each rank for each expert of this rank
     */
    PieceStage(Communicator group, int[] sent, int[] received) {
        this.group = group;
        int ranks = group.size();
        int local = sent.length / ranks;
        here = new long[ranks][local];
        there = new long[ranks][local];
        sentCounts = new long[ranks][local];
        receivedCounts = new long[ranks][local];
        offsets = new int[local + 1];
        int rows = 0;
        for (int i = 0; i < sent.length; i++) {
            here[i / local][i % local] = rows;
            sentCounts[i / local][i % local] = sent[i];
            rows += sent[i];
        }
        this.sent = rows;
        int arrived = 0;
        for (int expert = 0; expert < local; expert++) {
            for (int rank = 0; rank < ranks; rank++) {
                int count = received[rank * local + expert];
                there[rank][expert] = arrived;
                receivedCounts[rank][expert] = count;
                arrived += count;
            }
            offsets[expert + 1] = arrived;
        }
    }

    int sent() {
        return sent;
    }

    int received() {
        return offsets[offsets.length - 1];
    }

    /** First row of each expert, and the end of the last. */
    int[] offsets() {
        return offsets.clone();
    }

    @Override
    public Tensor toExperts(Tensor rows, TensorScope scope) {
        Tensor out = scope.allocate(rows.dtype(), received(), rows.dim(1));
        group.allToAllPieces(
                rows, pieces(here, sentCounts, rows.dim(1)), out, pieces(there, receivedCounts, rows.dim(1)));
        return out;
    }

    @Override
    public Tensor fromExperts(Tensor rows, TensorScope scope) {
        Tensor out = scope.allocate(rows.dtype(), sent, rows.dim(1));
        group.allToAllPieces(
                rows, pieces(there, receivedCounts, rows.dim(1)), out, pieces(here, sentCounts, rows.dim(1)));
        return out;
    }

    /** {@link #fromExperts} beside the work that is queued next. */
    Arrival startFromExperts(Tensor rows, TensorScope scope) {
        Tensor out = scope.allocate(rows.dtype(), sent, rows.dim(1));
        Pieces from = pieces(there, receivedCounts, rows.dim(1));
        Pieces to = pieces(here, sentCounts, rows.dim(1));
        return new Arrival(out, group.start(() -> group.allToAllPieces(rows, from, out, to)));
    }

    private static Pieces pieces(long[][] starts, long[][] counts, int cols) {
        return new Pieces(elements(starts, cols), elements(counts, cols));
    }

    private static long[][] elements(long[][] rows, int cols) {
        long[][] elements = new long[rows.length][];
        for (int rank = 0; rank < rows.length; rank++) {
            elements[rank] = new long[rows[rank].length];
            for (int i = 0; i < elements[rank].length; i++) {
                elements[rank][i] = rows[rank][i] * cols;
            }
        }
        return elements;
    }
}
