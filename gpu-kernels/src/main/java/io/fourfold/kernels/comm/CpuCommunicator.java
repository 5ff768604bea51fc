package io.fourfold.kernels.comm;

import io.fourfold.kernels.comm.CollectiveCall.Kind;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What every transport for {@link CpuTensor}s has in common: it checks arguments, says where each member's part begins and
 * counts bytes. A transport only moves the parts. Used by one thread at a time.
 *
 * <p>Parts are given by their starts: part r is the elements from {@code starts[r]} until {@code starts[r + 1]}.
 */
abstract class CpuCommunicator implements Communicator {
    private final String name;
    private final int rank;
    private final int size;
    private final AtomicLong bytesSent = new AtomicLong();
    private volatile boolean closed;

    CpuCommunicator(String name, int rank, int size) {
        this.name = name;
        this.rank = rank;
        this.size = size;
    }

    /** Reduces each part on one member and gives every member all reduced parts. */
    abstract void moveAllReduce(CollectiveCall call, ReduceOp op, CpuTensor values, int[] starts);

    /** Reduces part {@link #rank} of all members' send into receive. */
    abstract void moveReduceScatter(CollectiveCall call, ReduceOp op, CpuTensor send, int[] starts, CpuTensor receive);

    /** Part r of receive becomes member r's send. */
    abstract void moveAllGather(CollectiveCall call, CpuTensor send, CpuTensor receive, int[] starts);

    abstract void moveAllToAll(
            CollectiveCall call, CpuTensor send, int[] sendStarts, CpuTensor receive, int[] receiveStarts);

    abstract void moveBroadcast(CollectiveCall call, CpuTensor values);

    abstract void moveNothing(CollectiveCall call);

    abstract void moveSend(CpuTensor values, int peer);

    abstract void moveReceive(CpuTensor values, int peer);

    /** Breaks the world because this member's call cannot work, and says so. */
    abstract CommunicationException refuse(String problem);

    @Override
    public final String name() {
        return name;
    }

    @Override
    public final int rank() {
        return rank;
    }

    @Override
    public final int size() {
        return size;
    }

    @Override
    public final void allReduce(Tensor values, ReduceOp op) {
        requireOpen();
        CpuTensor mine = CpuTensor.of(values);
        int[] starts = new int[size + 1];
        for (int member = 0; member <= size; member++) {
            starts[member] = (int) (mine.elements() * member / size);
        }
        moveAllReduce(CollectiveCall.of(Kind.ALL_REDUCE, op, mine), op, mine, starts);
        long slice = starts[rank + 1] - starts[rank];
        count(mine, mine.elements() - slice + (size - 1) * slice);
    }

    @Override
    public final void reduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        requireOpen();
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor part = sameType(mine, receive);
        require(mine.elements() == part.elements() * size, "reduceScatter of " + mine + " into " + part);
        moveReduceScatter(CollectiveCall.of(Kind.REDUCE_SCATTER, op, mine), op, mine, equalParts(part.size()), part);
        count(mine, mine.elements() - part.elements());
    }

    @Override
    public final void reduceScatterV(Tensor send, Tensor receive, long[] counts, ReduceOp op) {
        requireOpen();
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor part = sameType(mine, receive);
        requireCounts(counts, mine, "send");
        require(part.elements() == counts[rank], "reduceScatterV of " + counts[rank] + " elements into " + part);
        CollectiveCall call = new CollectiveCall(Kind.REDUCE_SCATTER_V, op, 0, mine, counts.clone(), null);
        moveReduceScatter(call, op, mine, starts(counts), part);
        count(mine, mine.elements() - part.elements());
    }

    @Override
    public final void allGather(Tensor send, Tensor receive) {
        requireOpen();
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor all = sameType(mine, receive);
        require(all.elements() == mine.elements() * size, "allGather of " + mine + " into " + all);
        moveAllGather(CollectiveCall.of(Kind.ALL_GATHER, null, mine), mine, all, equalParts(mine.size()));
        count(mine, mine.elements() * (size - 1));
    }

    @Override
    public final void allGatherV(Tensor send, Tensor receive, long[] counts) {
        requireOpen();
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor all = sameType(mine, receive);
        requireCounts(counts, all, "receive");
        require(mine.elements() == counts[rank], "allGatherV of " + mine + " but counts " + Arrays.toString(counts));
        CollectiveCall call = new CollectiveCall(Kind.ALL_GATHER_V, null, 0, mine, counts.clone(), null);
        moveAllGather(call, mine, all, starts(counts));
        count(mine, mine.elements() * (size - 1));
    }

    @Override
    public final void allToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        requireOpen();
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor all = sameType(mine, receive);
        requireCounts(sendCounts, mine, "send");
        requireCounts(receiveCounts, all, "receive");
        require(
                sendCounts[rank] == receiveCounts[rank],
                "sends itself " + sendCounts[rank] + " elements but expects " + receiveCounts[rank]);
        CollectiveCall call =
                new CollectiveCall(Kind.ALL_TO_ALL_V, null, 0, mine, sendCounts.clone(), receiveCounts.clone());
        moveAllToAll(call, mine, starts(sendCounts), all, starts(receiveCounts));
        count(mine, mine.elements() - sendCounts[rank]);
    }

    @Override
    public final void broadcast(Tensor values, int root) {
        requireOpen();
        CpuTensor mine = CpuTensor.of(values);
        requireMember(root);
        moveBroadcast(new CollectiveCall(Kind.BROADCAST, null, root, mine, null, null), mine);
        if (rank == root) {
            count(mine, mine.elements() * (size - 1));
        }
    }

    @Override
    public final void send(Tensor values, int peer) {
        requireOpen();
        requireMember(peer);
        require(peer != rank, "sending to itself");
        CpuTensor mine = CpuTensor.of(values);
        moveSend(mine, peer);
        count(mine, mine.elements());
    }

    @Override
    public final void receive(Tensor values, int peer) {
        requireOpen();
        requireMember(peer);
        require(peer != rank, "receiving from itself");
        moveReceive(CpuTensor.of(values), peer);
    }

    @Override
    public final void barrier() {
        requireOpen();
        moveNothing(CollectiveCall.barrier());
    }

    @Override
    public final long bytesSent() {
        return bytesSent.get();
    }

    @Override
    public void close() {
        closed = true;
    }

    /** A call that cannot work breaks the world: the others would wait for it for ever. */
    final void require(boolean condition, String problem) {
        if (!condition) {
            throw refuse(problem);
        }
    }

    static void copy(CpuTensor from, int fromIndex, CpuTensor to, int toIndex, int length) {
        Object source = from.dtype() == DType.INT32 ? from.ints() : from.floats();
        Object destination = to.dtype() == DType.INT32 ? to.ints() : to.floats();
        System.arraycopy(source, from.offset() + fromIndex, destination, to.offset() + toIndex, length);
    }

    /**
     * Where each member's part begins.
     *
     * @return one more element than counts; the last one is the sum
     */
    static int[] starts(long[] counts) {
        int[] starts = new int[counts.length + 1];
        for (int i = 0; i < counts.length; i++) {
            starts[i + 1] = Math.toIntExact(starts[i] + counts[i]);
        }
        return starts;
    }

    private int[] equalParts(int length) {
        int[] starts = new int[size + 1];
        for (int member = 0; member <= size; member++) {
            starts[member] = Math.multiplyExact(member, length);
        }
        return starts;
    }

    private void count(CpuTensor tensor, long elements) {
        bytesSent.addAndGet(elements * tensor.dtype().bytes());
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("communicator '" + name + "' is closed");
        }
    }

    private CpuTensor sameType(CpuTensor send, Tensor receive) {
        CpuTensor to = CpuTensor.of(receive);
        require(to.dtype() == send.dtype(), "sends " + send + " but receives " + to);
        return to;
    }

    private void requireMember(int member) {
        require(member >= 0 && member < size, "member " + member + " is outside 0.." + (size - 1));
    }

    private void requireCounts(long[] counts, CpuTensor tensor, String which) {
        boolean fits = counts.length == size;
        long sum = 0;
        for (long count : counts) {
            fits &= count >= 0;
            sum += count;
        }
        require(
                fits && sum == tensor.elements(),
                which + " counts " + Arrays.toString(counts) + " do not add up to " + tensor + " over " + size
                        + " members");
    }
}
