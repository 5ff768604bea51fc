package io.fourfold.kernels.comm;

import io.fourfold.kernels.comm.CollectiveCall.Kind;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicLong;

/** One member's side of an {@link InProcessGroup}. Used by one thread at a time. */
final class InProcessCommunicator implements Communicator {
    private final InProcessGroup group;
    private final int rank;
    private final AtomicLong bytesSent = new AtomicLong();
    private volatile boolean closed;

    InProcessCommunicator(InProcessGroup group, int rank) {
        this.group = group;
        this.rank = rank;
    }

    @Override
    public String name() {
        return group.name();
    }

    @Override
    public int rank() {
        return rank;
    }

    @Override
    public int size() {
        return group.size();
    }

    @Override
    public void allReduce(Tensor values, ReduceOp op) {
        CpuTensor mine = CpuTensor.of(values);
        run(CollectiveCall.of(Kind.ALL_REDUCE, op, mine), () -> {
            if (size() == 1) {
                return;
            }
            int from = sliceStart(mine.elements(), rank);
            int to = sliceStart(mine.elements(), rank + 1);
            reduce(op, from, mine.view(from, Shape.of(to - from)));
            for (int peer = 0; peer < size(); peer++) {
                if (peer != rank) {
                    copy(mine, from, group.call(peer).payload(), from, to - from);
                }
            }
        });
        long slice = sliceStart(mine.elements(), rank + 1) - sliceStart(mine.elements(), rank);
        count(mine, mine.elements() - slice + (size() - 1) * slice);
    }

    private int sliceStart(long elements, int member) {
        return (int) (elements * member / size());
    }

    @Override
    public void reduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor part = sameType(mine, receive);
        require(mine.elements() == part.elements() * size(), "reduceScatter of " + mine + " into " + part);
        run(CollectiveCall.of(Kind.REDUCE_SCATTER, op, mine), () -> reduce(op, rank * part.size(), part));
        count(mine, mine.elements() - part.elements());
    }

    @Override
    public void reduceScatterV(Tensor send, Tensor receive, long[] counts, ReduceOp op) {
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor part = sameType(mine, receive);
        requireCounts(counts, mine, "send");
        require(part.elements() == counts[rank], "reduceScatterV of " + counts[rank] + " elements into " + part);
        CollectiveCall call = new CollectiveCall(Kind.REDUCE_SCATTER_V, op, 0, mine, counts.clone(), null);
        run(call, () -> reduce(op, start(counts, rank), part));
        count(mine, mine.elements() - part.elements());
    }

    /** Reduces the members' elements from {@code from} on into {@code out}. */
    private void reduce(ReduceOp op, int from, CpuTensor out) {
        int[] offsets = new int[size()];
        if (out.dtype() == DType.INT32) {
            int[][] sources = new int[size()][];
            for (int peer = 0; peer < size(); peer++) {
                sources[peer] = payload(peer, out).ints();
                offsets[peer] = payload(peer, out).offset() + from;
            }
            RankReduction.reduce(op, sources, offsets, out.size(), out.ints(), out.offset());
            return;
        }
        float[][] sources = new float[size()][];
        for (int peer = 0; peer < size(); peer++) {
            sources[peer] = payload(peer, out).floats();
            offsets[peer] = payload(peer, out).offset() + from;
        }
        boolean bf16 = out.dtype() == DType.BF16;
        RankReduction.reduce(op, bf16, sources, offsets, out.size(), out.floats(), out.offset());
    }

    private CpuTensor payload(int peer, CpuTensor sameTypeAs) {
        CpuTensor payload = group.call(peer).payload();
        if (payload.dtype() != sameTypeAs.dtype()) {
            throw new IllegalStateException("peer " + peer + " posted " + payload + ", expected " + sameTypeAs.dtype());
        }
        return payload;
    }

    @Override
    public void allGather(Tensor send, Tensor receive) {
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor all = sameType(mine, receive);
        require(all.elements() == mine.elements() * size(), "allGather of " + mine + " into " + all);
        run(CollectiveCall.of(Kind.ALL_GATHER, null, mine), () -> {
            for (int peer = 0; peer < size(); peer++) {
                copy(group.call(peer).payload(), 0, all, peer * mine.size(), mine.size());
            }
        });
        count(mine, mine.elements() * (size() - 1));
    }

    @Override
    public void allGatherV(Tensor send, Tensor receive, long[] counts) {
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor all = sameType(mine, receive);
        requireCounts(counts, all, "receive");
        require(mine.elements() == counts[rank], "allGatherV of " + mine + " but counts " + Arrays.toString(counts));
        run(new CollectiveCall(Kind.ALL_GATHER_V, null, 0, mine, counts.clone(), null), () -> {
            for (int peer = 0; peer < size(); peer++) {
                copy(group.call(peer).payload(), 0, all, start(counts, peer), (int) counts[peer]);
            }
        });
        count(mine, mine.elements() * (size() - 1));
    }

    @Override
    public void allToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        CpuTensor mine = CpuTensor.of(send);
        CpuTensor all = sameType(mine, receive);
        requireCounts(sendCounts, mine, "send");
        requireCounts(receiveCounts, all, "receive");
        require(
                sendCounts[rank] == receiveCounts[rank],
                "sends itself " + sendCounts[rank] + " elements but expects " + receiveCounts[rank]);
        long[] sent = sendCounts.clone();
        run(new CollectiveCall(Kind.ALL_TO_ALL_V, null, 0, mine, sent, receiveCounts.clone()), () -> {
            for (int peer = 0; peer < size(); peer++) {
                CollectiveCall theirs = group.call(peer);
                long[] theirCounts = theirs.sendCounts();
                if (theirCounts == null) {
                    throw new IllegalStateException("peer " + peer + " posted no counts");
                }
                int length = (int) receiveCounts[peer];
                copy(theirs.payload(), start(theirCounts, rank), all, start(receiveCounts, peer), length);
            }
        });
        count(mine, start(sent, size()) - sent[rank]);
    }

    @Override
    public void broadcast(Tensor values, int root) {
        CpuTensor mine = CpuTensor.of(values);
        requireMember(root);
        run(new CollectiveCall(Kind.BROADCAST, null, root, mine, null, null), () -> {
            if (rank != root) {
                copy(group.call(root).payload(), 0, mine, 0, mine.size());
            }
        });
        if (rank == root) {
            count(mine, mine.elements() * (size() - 1));
        }
    }

    @Override
    public void send(Tensor values, int peer) {
        requireOpen();
        requireMember(peer);
        require(peer != rank, "sending to itself");
        CpuTensor mine = CpuTensor.of(values);
        group.send(rank, peer, mine);
        count(mine, mine.elements());
    }

    @Override
    public void receive(Tensor values, int peer) {
        requireOpen();
        requireMember(peer);
        require(peer != rank, "receiving from itself");
        CpuTensor mine = CpuTensor.of(values);
        InProcessGroup.Message message = group.receive(peer, rank, () -> "receive(" + mine + ") from member " + peer);
        require(
                message.dtype() == mine.dtype() && message.length() == mine.size(),
                "receives " + mine + ", but member " + peer + " sent " + message.dtype() + "[" + message.length()
                        + "]");
        if (message.floats() != null) {
            System.arraycopy(message.floats(), 0, mine.floats(), mine.offset(), mine.size());
        } else if (message.ints() != null) {
            System.arraycopy(message.ints(), 0, mine.ints(), mine.offset(), mine.size());
        }
    }

    @Override
    public void barrier() {
        run(CollectiveCall.barrier(), () -> {});
    }

    @Override
    public long bytesSent() {
        return bytesSent.get();
    }

    @Override
    public void close() {
        closed = true;
    }

    /** Meets the others, does this member's part, and waits until nobody needs anybody's memory any more. */
    private void run(CollectiveCall call, Runnable part) {
        requireOpen();
        group.begin(rank, call);
        try {
            part.run();
        } catch (RuntimeException | Error failure) {
            group.abort(group.describe(rank) + ": " + call.describe() + " failed: " + failure);
            throw failure;
        }
        group.end(rank);
    }

    private static void copy(CpuTensor from, int fromIndex, CpuTensor to, int toIndex, int length) {
        Object source = from.dtype() == DType.INT32 ? from.ints() : from.floats();
        Object destination = to.dtype() == DType.INT32 ? to.ints() : to.floats();
        System.arraycopy(source, from.offset() + fromIndex, destination, to.offset() + toIndex, length);
    }

    private static int start(long[] counts, int member) {
        long sum = 0;
        for (int i = 0; i < member; i++) {
            sum += counts[i];
        }
        return Math.toIntExact(sum);
    }

    private void count(CpuTensor tensor, long elements) {
        bytesSent.addAndGet(elements * tensor.dtype().bytes());
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("communicator '" + name() + "' is closed");
        }
    }

    private CpuTensor sameType(CpuTensor send, Tensor receive) {
        CpuTensor to = CpuTensor.of(receive);
        require(to.dtype() == send.dtype(), "sends " + send + " but receives " + to);
        return to;
    }

    private void requireMember(int member) {
        require(member >= 0 && member < size(), "member " + member + " is outside 0.." + (size() - 1));
    }

    private void requireCounts(long[] counts, CpuTensor tensor, String which) {
        boolean fits = counts.length == size();
        long sum = 0;
        for (long count : counts) {
            fits &= count >= 0;
            sum += count;
        }
        require(
                fits && sum == tensor.elements(),
                which + " counts " + Arrays.toString(counts) + " do not add up to " + tensor + " over " + size()
                        + " members");
    }

    /** A call that cannot work breaks the world: the others would wait for it for ever. */
    private void require(boolean condition, String problem) {
        if (!condition) {
            throw group.refuse(rank, problem);
        }
    }
}
