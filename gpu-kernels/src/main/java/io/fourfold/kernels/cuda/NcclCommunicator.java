package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.nccl;
import org.bytedeco.cuda.nccl.ncclComm;
import org.bytedeco.javacpp.Pointer;
import org.jspecify.annotations.Nullable;

/**
 * Collectives of one group by NCCL on the GPU's stream. BF16 sums are taken in FP32 and rounded once: NCCL itself would
 * round at every rank it passes. Bytes sent are counted as the algorithms need them at least: an all-reduce as
 * reduce-scatter and all-gather.
 */
final class NcclCommunicator implements Communicator {
    private static final long ABORT_PATIENCE_SECONDS = 2;

    /** Queues one or more NCCL calls and returns the result of the last. */
    private interface Calls {
        int queue(ncclComm communicator);
    }

    private final CudaRuntime cuda;
    private final NcclWorld world;
    private final Communicator host;
    private @Nullable ncclComm communicator;
    /** Held while work is queued: an abort waits for it a little, for afterwards the communicator is gone. */
    private final ReentrantLock queueing = new ReentrantLock();

    private long bytesSent;

    NcclCommunicator(CudaRuntime cuda, NcclWorld world, Communicator host, ncclComm communicator) {
        this.cuda = cuda;
        this.world = world;
        this.host = host;
        this.communicator = communicator;
    }

    @Override
    public String name() {
        return host.name();
    }

    @Override
    public int rank() {
        return host.rank();
    }

    @Override
    public int size() {
        return host.size();
    }

    @Override
    public void allReduce(Tensor values, ReduceOp op) {
        CudaTensor data = CudaTensor.of(values);
        long others = data.elements() - share(data.elements(), rank());
        sent(others + (long) (size() - 1) * share(data.elements(), rank()), data);
        summing(
                data,
                data,
                op,
                (from, to) -> queue(
                        "allReduce",
                        c -> nccl.ncclAllReduce(
                                pointer(from, 0),
                                pointer(to, 0),
                                from.elements(),
                                Nccl.type(from.dtype()),
                                Nccl.op(op),
                                c,
                                stream())));
    }

    @Override
    public void reduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(from.elements() == to.elements() * size(), "reduceScatter", from, to);
        sent(from.elements() - to.elements(), from);
        summing(
                from,
                to,
                op,
                (in, out) -> queue(
                        "reduceScatter",
                        c -> nccl.ncclReduceScatter(
                                pointer(in, 0),
                                pointer(out, 0),
                                out.elements(),
                                Nccl.type(in.dtype()),
                                Nccl.op(op),
                                c,
                                stream())));
    }

    @Override
    public void allGather(Tensor send, Tensor receive) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(to.elements() == from.elements() * size(), "allGather", from, to);
        sent((long) (size() - 1) * from.elements(), from);
        queue(
                "allGather",
                c -> nccl.ncclAllGather(
                        pointer(from, 0), pointer(to, 0), from.elements(), Nccl.type(from.dtype()), c, stream()));
    }

    @Override
    public void allGatherV(Tensor send, Tensor receive, long[] counts) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(counts.length == size() && from.elements() == counts[rank()], "allGatherV", from, to);
        require(Arrays.stream(counts).sum() <= to.elements(), "allGatherV", from, to);
        sent((long) (size() - 1) * from.elements(), from);
        together("allGatherV", () -> {
            long at = 0;
            for (int r = 0; r < size(); r++) {
                int root = r;
                long start = at;
                queue(
                        "allGatherV",
                        c -> nccl.ncclBroadcast(
                                pointer(from, 0),
                                pointer(to, start),
                                counts[root],
                                Nccl.type(from.dtype()),
                                root,
                                c,
                                stream()));
                at += counts[root];
            }
        });
    }

    @Override
    public void reduceScatterV(Tensor send, Tensor receive, long[] counts, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(counts.length == size() && to.elements() == counts[rank()], "reduceScatterV", from, to);
        require(Arrays.stream(counts).sum() <= from.elements(), "reduceScatterV", from, to);
        sent(Arrays.stream(counts).sum() - counts[rank()], from);
        summing(
                from,
                to,
                op,
                (in, out) -> together("reduceScatterV", () -> {
                    long at = 0;
                    for (int r = 0; r < size(); r++) {
                        int root = r;
                        long start = at;
                        queue(
                                "reduceScatterV",
                                c -> nccl.ncclReduce(
                                        pointer(in, start),
                                        pointer(out, 0),
                                        counts[root],
                                        Nccl.type(in.dtype()),
                                        Nccl.op(op),
                                        root,
                                        c,
                                        stream()));
                        at += counts[root];
                    }
                }));
    }

    @Override
    public void allToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(sendCounts.length == size() && receiveCounts.length == size(), "allToAllV", from, to);
        require(
                Arrays.stream(sendCounts).sum() <= from.elements()
                        && Arrays.stream(receiveCounts).sum() <= to.elements()
                        && from.dtype() == to.dtype(),
                "allToAllV",
                from,
                to);
        sent(Arrays.stream(sendCounts).sum() - sendCounts[rank()], from);
        together("allToAllV", () -> {
            long out = 0;
            long in = 0;
            for (int peer = 0; peer < size(); peer++) {
                if (sendCounts[peer] > 0) {
                    sendPart(from, out, sendCounts[peer], peer);
                }
                if (receiveCounts[peer] > 0) {
                    receivePart(to, in, receiveCounts[peer], peer);
                }
                out += sendCounts[peer];
                in += receiveCounts[peer];
            }
        });
    }

    @Override
    public void broadcast(Tensor values, int root) {
        CudaTensor data = CudaTensor.of(values);
        sent(rank() == root ? (long) (size() - 1) * data.elements() : 0, data);
        queue(
                "broadcast",
                c -> nccl.ncclBroadcast(
                        pointer(data, 0),
                        pointer(data, 0),
                        data.elements(),
                        Nccl.type(data.dtype()),
                        root,
                        c,
                        stream()));
    }

    @Override
    public void send(Tensor values, int peer) {
        CudaTensor data = CudaTensor.of(values);
        sent(data.elements(), data);
        sendPart(data, 0, data.elements(), peer);
    }

    @Override
    public void receive(Tensor values, int peer) {
        CudaTensor data = CudaTensor.of(values);
        receivePart(data, 0, data.elements(), peer);
    }

    @Override
    public void barrier() {
        world.check("barrier of group " + name());
        cuda.device().stream().synchronize();
        host.barrier();
    }

    @Override
    public long bytesSent() {
        return bytesSent;
    }

    /** What is wrong with operations under way; null when nothing is. Any thread. */
    synchronized @Nullable String asyncError() {
        return communicator == null ? null : Nccl.asyncError(communicator);
    }

    /**
     * Ends operations under way with an error; later ones are refused. Any thread. A thread that is stuck in NCCL, waiting
     * for a peer to connect, is freed by the abort itself.
     */
    void abort() {
        boolean quiet = waitForQueueing();
        synchronized (this) {
            if (communicator != null) {
                int unused = nccl.ncclCommAbort(communicator); // the reason that leads here matters, not another error
                communicator = null;
            }
        }
        if (quiet) {
            queueing.unlock();
        }
    }

    private boolean waitForQueueing() {
        try {
            return queueing.tryLock(ABORT_PATIENCE_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    @Override
    public synchronized void close() {
        if (communicator != null) {
            cuda.device().stream().synchronize();
            Nccl.check(nccl.ncclCommDestroy(communicator), "ncclCommDestroy " + name());
            communicator = null;
        }
        host.close();
    }

    private interface Reduction {
        void run(CudaTensor from, CudaTensor to);
    }

    /** Runs a reduction in FP32 where it sums BF16. */
    private void summing(CudaTensor from, CudaTensor to, ReduceOp op, Reduction reduction) {
        if (from.dtype() != DType.BF16 || op != ReduceOp.SUM || size() == 1) {
            reduction.run(from, to);
            return;
        }
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor in = work.allocate(DType.FP32, from.shape());
            CudaTensor out = from == to ? in : work.allocate(DType.FP32, to.shape());
            convert(from, in);
            reduction.run(in, out);
            convert(out, to);
        }
    }

    private void convert(CudaTensor from, CudaTensor to) {
        cuda.function("elementwise", CudaArguments.kernel("copy", from, to))
                .launchLine(CudaArguments.blocks(from.elements(), 256 * 8), 256, from, to, from.elements());
    }

    /** Queues several calls as one operation. */
    private void together(String what, Runnable calls) {
        queueing.lock();
        try {
            world.check(what + " of group " + name());
            Nccl.check(nccl.ncclGroupStart(), "ncclGroupStart");
            try {
                calls.run();
            } finally {
                Nccl.check(nccl.ncclGroupEnd(), what + " of group " + name());
            }
        } finally {
            queueing.unlock();
        }
    }

    private void queue(String what, Calls calls) {
        queueing.lock();
        try {
            world.check(what + " of group " + name());
            Nccl.check(calls.queue(open(what)), what + " of group " + name());
        } finally {
            queueing.unlock();
        }
    }

    private void sendPart(CudaTensor from, long at, long count, int peer) {
        queue(
                "send to " + peer,
                c -> nccl.ncclSend(pointer(from, at), count, Nccl.type(from.dtype()), peer, c, stream()));
    }

    private void receivePart(CudaTensor to, long at, long count, int peer) {
        queue(
                "receive from " + peer,
                c -> nccl.ncclRecv(pointer(to, at), count, Nccl.type(to.dtype()), peer, c, stream()));
    }

    private synchronized ncclComm open(String what) {
        if (communicator == null) {
            throw new IllegalStateException(what + " of the closed group " + name());
        }
        return communicator;
    }

    private void require(boolean fits, String what, CudaTensor from, CudaTensor to) {
        if (!fits) {
            throw new IllegalArgumentException(
                    what + " of group " + name() + " over " + size() + " ranks from " + from + " to " + to);
        }
    }

    /** Elements of rank r's part when {@code elements} are dealt out. */
    private long share(long elements, int r) {
        return elements * (r + 1) / size() - elements * r / size();
    }

    private void sent(long elements, CudaTensor data) {
        bytesSent += elements * data.dtype().bytes();
    }

    private CUstream_st stream() {
        return cuda.device().stream().javacpp();
    }

    private static Pointer pointer(CudaTensor tensor, long element) {
        return Addresses.of(tensor.address() + element * tensor.dtype().bytes());
    }
}
