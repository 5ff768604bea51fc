package io.fourfold.kernels.comm;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Collectives over one group of ranks. Every member calls the same operations in the same order. Counts are elements.
 * Tensors are FP32, BF16 or INT32; BF16 sums accumulate in FP32 and round once. A failed or aborted peer surfaces as a
 * {@link CommunicationException} on every member.
 */
public interface Communicator extends AutoCloseable {
    /** What the group is for, for example {@code ep}; appears in errors and traces. */
    String name();

    /** This rank's index within the group. */
    int rank();

    int size();

    /** In place. */
    void allReduce(Tensor values, ReduceOp op);

    /** Rank r receives the reduction of part r; send has size() equal parts of receive's length. */
    void reduceScatter(Tensor send, Tensor receive, ReduceOp op);

    /** receive = the concatenation of every rank's send, equal lengths. */
    void allGather(Tensor send, Tensor receive);

    /** receive = the concatenation of every rank's send; counts[r] elements come from rank r. */
    void allGatherV(Tensor send, Tensor receive, long[] counts);

    /** Rank r receives the reduction of the r-th part, counts[r] elements long. */
    void reduceScatterV(Tensor send, Tensor receive, long[] counts, ReduceOp op);

    /** Part r of send goes to rank r; part r of receive comes from rank r. */
    void allToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts);

    /**
     * Starts {@link #allToAllV} beside the work that the caller queues next. All ranks start and await in the same order.
     * Where a group cannot overlap, the exchange is done on return.
     */
    default Pending startAllToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        return start(() -> allToAllV(send, sendCounts, receive, receiveCounts));
    }

    /**
     * {@link #startAllToAllV} without what this rank sends itself: that part of {@code receive} may be written or not, but
     * not after the return, so that the caller may put something else there.
     */
    default Pending startAllToOthersV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        return startAllToAllV(send, sendCounts, receive, receiveCounts);
    }

    /**
     * Starts collectives beside the work that the caller queues next: what was queued before is done before they begin. All
     * ranks start and await in the same order. Where a group cannot overlap, they are done on return.
     *
     * @param collectives calls collectives of this group, and nothing else that uses the device; run before the return
     */
    default Pending start(Runnable collectives) {
        collectives.run();
        return Pending.DONE;
    }

    /**
     * Starts {@link #allGather} beside the work that the caller queues next. All ranks start and await in the same order.
     * Where a group cannot overlap, it is done on return.
     */
    default Pending startAllGather(Tensor send, Tensor receive) {
        return start(() -> allGather(send, receive));
    }

    /**
     * Starts {@link #reduceScatter} beside the work that the caller queues next, which may still write this rank's own part
     * of {@code send}. All ranks start and await in the same order. Where a group cannot overlap, it is done when it is
     * awaited.
     */
    default Pending startReduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        return Pending.once(() -> reduceScatter(send, receive, op));
    }

    /**
     * The same where {@code send} is not needed afterwards: until the result is awaited anything may be written to it, so that
     * what arrives needs no memory of its own. Where a group cannot overlap, it is done on return.
     */
    default Pending startConsumingReduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        return start(() -> reduceScatter(send, receive, op));
    }

    /** Whether {@link #start} returns before the collectives are done. */
    default boolean overlaps() {
        return false;
    }

    void broadcast(Tensor values, int root);

    void send(Tensor values, int peer);

    void receive(Tensor values, int peer);

    void barrier();

    /** Whether a thread may use this group while another one uses other groups of the same world. */
    default boolean concurrent() {
        return false;
    }

    /** Payload bytes this rank has sent to others through this group (its own part excluded). */
    long bytesSent();

    @Override
    void close();
}
