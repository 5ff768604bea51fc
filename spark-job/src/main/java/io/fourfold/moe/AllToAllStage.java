package io.fourfold.moe;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;

/** Rows travel to the ranks that hold their experts; arriving rows are ordered by (source rank, expert, slot). */
final class AllToAllStage implements RowStage {
    private final Communicator group;
    private final long[] sentRows;
    private final long[] receivedRows;
    private final int sent;
    private final int received;

    /**
     * @param sentRows rows for each rank of the group
     * @param receivedRows rows from each rank of the group
     */
    AllToAllStage(Communicator group, long[] sentRows, long[] receivedRows) {
        this.group = group;
        this.sentRows = sentRows.clone();
        this.receivedRows = receivedRows.clone();
        this.sent = Math.toIntExact(Arrays.stream(sentRows).sum());
        this.received = Math.toIntExact(Arrays.stream(receivedRows).sum());
    }

    int received() {
        return received;
    }

    int sent() {
        return sent;
    }

    @Override
    public Tensor toExperts(Tensor rows, TensorScope scope) {
        return exchange(rows, sentRows, receivedRows, received, scope);
    }

    @Override
    public Tensor fromExperts(Tensor rows, TensorScope scope) {
        return exchange(rows, receivedRows, sentRows, sent, scope);
    }

    @Override
    public Arrival startFromExperts(Tensor rows, TensorScope scope) {
        int cols = rows.dim(1);
        Tensor out = scope.allocate(rows.dtype(), sent, cols);
        return new Arrival(
                out, group.startAllToAllV(rows, elements(receivedRows, cols), out, elements(sentRows, cols)));
    }

    /** Starts {@link #toExperts} without what stays on this rank. */
    Arrival startToExperts(Tensor rows, TensorScope scope) {
        return startOthers(rows, sentRows, receivedRows, received, scope);
    }

    /** Starts {@link #fromExperts} without what stays on this rank. */
    Arrival startFromOthers(Tensor rows, TensorScope scope) {
        return startOthers(rows, receivedRows, sentRows, sent, scope);
    }

    private Arrival startOthers(Tensor rows, long[] send, long[] receive, int arriving, TensorScope scope) {
        int cols = rows.dim(1);
        Tensor out = scope.allocate(rows.dtype(), arriving, cols);
        return new Arrival(out, group.startAllToOthersV(rows, elements(send, cols), out, elements(receive, cols)));
    }

    /** Where this rank's rows for itself begin among those it sends. */
    int ownSent() {
        return start(sentRows);
    }

    /** The same among those it receives. */
    int ownReceived() {
        return start(receivedRows);
    }

    /** How many they are. */
    int own() {
        return Math.toIntExact(sentRows[group.rank()]);
    }

    private int start(long[] counts) {
        return Math.toIntExact(Arrays.stream(counts, 0, group.rank()).sum());
    }

    private Tensor exchange(Tensor rows, long[] send, long[] receive, int arriving, TensorScope scope) {
        int cols = rows.dim(1);
        Tensor out = scope.allocate(rows.dtype(), arriving, cols);
        group.allToAllV(rows, elements(send, cols), out, elements(receive, cols));
        return out;
    }

    private static long[] elements(long[] rows, int cols) {
        return Arrays.stream(rows).map(count -> count * cols).toArray();
    }
}
