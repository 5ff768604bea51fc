package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.bytedeco.cuda.global.nccl;

/**
 * Collectives of one group by NCCL and, for large messages within a host, by the copy engines ({@link PeerLink}). They are
 * queued on the device's stream, or on the {@link NcclLane} beside it when they are {@linkplain #start started}; the host waits
 * for neither. Point-to-point messages always take the lane, and a send copies what it sends, so it never holds up the work
 * behind it.
 *
 * <p>BF16 sums, and those that {@linkplain #startConsumingReduceScatter consume their addends}, are those of {@link
 * RankOrderSum}. Other FP32 sums are NCCL's: over two ranks the same bits as on the CPU, over more in an order of NCCL's
 * choice. Bytes sent are counted as the algorithms need them at least: an all-reduce as reduce-scatter and all-gather; a gather
 * as if every rank sent its part to all others, though NCCL may hand it on in rings.
 */
final class NcclCommunicator implements Communicator {
    private final CudaRuntime cuda;
    private final Communicator host;
    private final GroupQueue queue;
    private final RankOrderSum sums;
    private long bytesSent;

    /**
     * @param host carries NCCL's ids
     * @param members world ranks
     */
    NcclCommunicator(CudaRuntime cuda, NcclWorld world, Communicator host, List<Integer> members) {
        this.cuda = cuda;
        this.host = host;
        this.queue = new GroupQueue(cuda, world, host, members);
        this.sums = new RankOrderSum(queue);
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
        long[] shares = new long[size()];
        for (int r = 0; r < size(); r++) {
            shares[r] = data.elements() * (r + 1) / size() - data.elements() * r / size();
        }
        long own = shares[rank()];
        sent(data.elements() - own + (long) (size() - 1) * own, data);
        if (sums.takes(data, op, shares)) {
            CudaTensor part = queue.part(data, shares);
            sums.scatter(data, part, shares);
            gather("allReduce", part, data, shares);
            return;
        }
        queue.nccl(
                "allReduce",
                c -> Nccl.check(
                        nccl.ncclAllReduce(
                                Nccl.pointer(data, 0),
                                Nccl.pointer(data, 0),
                                data.elements(),
                                Nccl.type(data.dtype()),
                                Nccl.op(op),
                                c,
                                queue.stream().javacpp()),
                        "ncclAllReduce"));
    }

    @Override
    public void reduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(from.elements() == to.elements() * size(), "reduceScatter", from, to);
        sent(from.elements() - to.elements(), from);
        if (sums.takes(from, op, to.elements())) {
            sums.scatter(from, to, equalCounts(to.elements()));
            return;
        }
        scatterSums("reduceScatter", from, to, op);
    }

    @Override
    public void reduceScatterV(Tensor send, Tensor receive, long[] counts, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(counts.length == size() && to.elements() == counts[rank()], "reduceScatterV", from, to);
        require(Arrays.stream(counts).sum() <= from.elements(), "reduceScatterV", from, to);
        sent(Arrays.stream(counts).sum() - counts[rank()], from);
        if (sums.takes(from, op, counts)) {
            sums.scatter(from, to, counts);
            return;
        }
        if (equal(counts)) {
            scatterSums("reduceScatterV", from, to, op);
            return;
        }
        queue.nccl("reduceScatterV", c -> {
            long at = 0;
            for (int root = 0; root < size(); root++) {
                if (counts[root] > 0) {
                    Nccl.check(
                            nccl.ncclReduce(
                                    Nccl.pointer(from, at),
                                    Nccl.pointer(to, 0),
                                    counts[root],
                                    Nccl.type(from.dtype()),
                                    Nccl.op(op),
                                    root,
                                    c,
                                    queue.stream().javacpp()),
                            "ncclReduce");
                }
                at += counts[root];
            }
        });
    }

    @Override
    public void allGather(Tensor send, Tensor receive) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(to.elements() == from.elements() * size(), "allGather", from, to);
        sent((long) (size() - 1) * from.elements(), from);
        if (queue.copies(from.bytes())) {
            gather("allGather", from, to, equalCounts(from.elements()));
        } else {
            gatherEqual("allGather", from, to);
        }
    }

    @Override
    public void allGatherV(Tensor send, Tensor receive, long[] counts) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(counts.length == size() && from.elements() == counts[rank()], "allGatherV", from, to);
        require(Arrays.stream(counts).sum() <= to.elements(), "allGatherV", from, to);
        sent((long) (size() - 1) * from.elements(), from);
        if (equal(counts) && !queue.copies(from.bytes())) {
            gatherEqual("allGatherV", from, to);
        } else if (size() > 2 && lopsided(counts)) {
            gatherByBroadcasts(from, to, counts);
        } else {
            gather("allGatherV", from, to, counts);
        }
    }

    @Override
    public void allToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        exchange(exchange(send, sendCounts, receive, receiveCounts), true);
    }

    @Override
    public Pending startAllToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        Exchange exchange = exchange(send, sendCounts, receive, receiveCounts);
        return queue.startLending(NcclSide.BESIDE, () -> exchange(exchange, true));
    }

    @Override
    public Pending startAllToOthersV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        Exchange exchange = exchange(send, sendCounts, receive, receiveCounts);
        return queue.startLending(NcclSide.BESIDE, () -> exchange(exchange, false));
    }

    /** @param own whether what stays on this rank is copied, beside the messages */
    private void exchange(Exchange exchange, boolean own) {
        queue.messages(
                "allToAllV",
                exchange.sends(),
                exchange.receives(),
                own ? () -> exchange.copyOwn(cuda.memory(), queue.stream()) : PeerLink.NOTHING);
    }

    /** This rank's own part is copied while the device would wait for the others'. */
    @Override
    public Pending startAllGather(Tensor send, Tensor receive) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(to.elements() == from.elements() * size(), "allGather", from, to);
        sent((long) (size() - 1) * from.elements(), from);
        long[] counts = equalCounts(from.elements());
        Pending others =
                queue.startLending(NcclSide.ROWS, () -> gatherOthers("allGather", from, to, counts, PeerLink.NOTHING));
        return Pending.once(() -> {
            copyOwn(from, to, counts);
            others.await();
        });
    }

    /** Sums that NCCL adds need all parts at once. */
    @Override
    public Pending startReduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        if (from.dtype() != DType.BF16 || op != ReduceOp.SUM || size() == 1) {
            return Communicator.super.startReduceScatter(send, receive, op);
        }
        require(from.elements() == to.elements() * size(), "reduceScatter", from, to);
        sent(from.elements() - to.elements(), from);
        return sums.start(NcclSide.ROWS, from, to, equalCounts(to.elements()));
    }

    @Override
    public Pending startConsumingReduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(from.elements() == to.elements() * size(), "reduceScatter", from, to);
        if (!sums.consumes(NcclSide.BESIDE, from, to, op)) {
            return Communicator.super.startConsumingReduceScatter(send, receive, op);
        }
        sent(from.elements() - to.elements(), from);
        return sums.startConsuming(NcclSide.BESIDE, from, to);
    }

    private long[] equalCounts(long elements) {
        long[] counts = new long[size()];
        Arrays.fill(counts, elements);
        return counts;
    }

    private Exchange exchange(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
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
        return new Exchange(rank(), from, sendCounts, to, receiveCounts);
    }

    @Override
    public void broadcast(Tensor values, int root) {
        CudaTensor data = CudaTensor.of(values);
        sent(rank() == root ? (long) (size() - 1) * data.elements() : 0, data);
        queue.nccl("broadcast", c -> Nccl.broadcast(c, queue.stream(), data, 0, data.elements(), root));
    }

    @Override
    public void send(Tensor values, int peer) {
        CudaTensor data = CudaTensor.of(values);
        sent(data.elements(), data);
        CudaTensorScope memory = cuda.memory().ownScope(Region.WORKSPACE); // outlives the caller
        CudaTensor copy = memory.allocate(data.dtype(), data.shape());
        cuda.memory().copy(data, copy);
        queue.send(copy, memory, peer);
    }

    @Override
    public void receive(Tensor values, int peer) {
        queue.receive(CudaTensor.of(values), peer);
    }

    @Override
    public Pending start(Runnable collectives) {
        return queue.startOn(NcclSide.BESIDE, collectives, () -> {});
    }

    @Override
    public boolean overlaps() {
        return true;
    }

    @Override
    public void barrier() {
        queue.check("barrier");
        cuda.device().stream().synchronize();
        host.barrier();
    }

    @Override
    public long bytesSent() {
        return bytesSent;
    }

    /** The link to the other ranks stays: the world's other groups may use it. */
    @Override
    public void close() {
        host.close();
    }

    private void scatterSums(String what, CudaTensor from, CudaTensor to, ReduceOp op) {
        queue.nccl(
                what,
                c -> Nccl.check(
                        nccl.ncclReduceScatter(
                                Nccl.pointer(from, 0),
                                Nccl.pointer(to, 0),
                                to.elements(),
                                Nccl.type(from.dtype()),
                                Nccl.op(op),
                                c,
                                queue.stream().javacpp()),
                        "ncclReduceScatter"));
    }

    private void gatherEqual(String what, CudaTensor from, CudaTensor to) {
        queue.nccl(
                what,
                c -> Nccl.check(
                        nccl.ncclAllGather(
                                Nccl.pointer(from, 0),
                                Nccl.pointer(to, 0),
                                from.elements(),
                                Nccl.type(from.dtype()),
                                c,
                                queue.stream().javacpp()),
                        "ncclAllGather"));
    }

    private static boolean equal(long[] counts) {
        return Arrays.stream(counts).allMatch(count -> count == counts[0]);
    }

    /** Whether one rank would send more to the others than there is in all: then it is left to rings to hand it on. */
    private static boolean lopsided(long[] counts) {
        long largest = Arrays.stream(counts).max().orElse(0);
        return largest * (counts.length - 1) >= Arrays.stream(counts).sum();
    }

    private void gatherByBroadcasts(CudaTensor from, CudaTensor to, long[] counts) {
        copyOwn(from, to, counts);
        queue.nccl("allGatherV", c -> {
            long at = 0;
            for (int root = 0; root < size(); root++) {
                Nccl.broadcast(c, queue.stream(), to, at, counts[root], root);
                at += counts[root];
            }
        });
    }

    /** Sends this rank's part to all others and receives theirs. */
    private void gather(String what, CudaTensor from, CudaTensor to, long[] counts) {
        gatherOthers(what, from, to, counts, () -> copyOwn(from, to, counts));
    }

    private void gatherOthers(String what, CudaTensor from, CudaTensor to, long[] counts, Runnable meanwhile) {
        List<PeerMessage> sends = IntStream.range(0, size())
                .filter(peer -> peer != rank())
                .mapToObj(peer -> new PeerMessage(peer, from, 0, from.elements()))
                .toList();
        queue.messages(what, sends, PeerMessage.ofOthers(rank(), to, counts), meanwhile);
    }

    private void copyOwn(CudaTensor from, CudaTensor to, long[] counts) {
        CudaTensor own = queue.part(to, counts);
        if (own.address() != from.address()) {
            cuda.memory().copyOn(queue.stream(), from, own);
        }
    }

    private void require(boolean fits, String what, CudaTensor from, CudaTensor to) {
        if (!fits) {
            throw new IllegalArgumentException(
                    what + " of group " + name() + " over " + size() + " ranks from " + from + " to " + to);
        }
    }

    private void sent(long elements, CudaTensor data) {
        bytesSent += elements * data.dtype().bytes();
    }
}
