package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import jcuda.driver.CUevent;
import org.bytedeco.cuda.global.nccl;

/**
 * Collectives of one group by NCCL. They are queued on the device's stream, or on the {@link NcclLane} beside it when they
 * are {@linkplain #start started}; the host waits for neither. Point-to-point messages always take the lane, and a send
 * copies what it sends, so it never holds up the work behind it.
 *
 * <p>BF16 sums are those of {@link RankOrderSum}. FP32 sums are NCCL's: over two ranks the same bits as on the CPU, over
 * more in an order of NCCL's choice. Bytes sent are counted as the algorithms need them at least: an all-reduce as
 * reduce-scatter and all-gather; a gather as if every rank sent its part to all others, though NCCL may hand it on in rings.
 */
final class NcclCommunicator implements Communicator {
    private static final int CHANNELS = 32;
    /** Bytes of a part from which the sum of two ranks is as fast by the copy engines, with nothing beside it. */
    private static final long LEAST_SUMMED_ALONE = 32 << 20;

    private final CudaRuntime cuda;
    private final NcclWorld world;
    private final Communicator host;
    private final List<Integer> members;
    private final RankOrderSum sums;
    private NcclSide side = NcclSide.MAIN;
    private boolean messagesPossible;
    private long bytesSent;

    /**
     * @param host carries NCCL's ids
     * @param members world ranks
     */
    NcclCommunicator(CudaRuntime cuda, NcclWorld world, Communicator host, List<Integer> members) {
        this.cuda = cuda;
        this.world = world;
        this.host = host;
        this.members = members;
        this.sums = new RankOrderSum(cuda, host.rank(), host.size());
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
        if (inRankOrder(data, op, shares)) {
            CudaTensor part = part(data, shares);
            sum(data, part, shares);
            gather("allReduce", part, data, shares);
            return;
        }
        queue(
                "allReduce",
                c -> Nccl.check(
                        nccl.ncclAllReduce(
                                Nccl.pointer(data, 0),
                                Nccl.pointer(data, 0),
                                data.elements(),
                                Nccl.type(data.dtype()),
                                Nccl.op(op),
                                c,
                                stream().javacpp()),
                        "ncclAllReduce"));
    }

    @Override
    public void reduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(from.elements() == to.elements() * size(), "reduceScatter", from, to);
        sent(from.elements() - to.elements(), from);
        if (inRankOrder(from, op, to.elements())) {
            sum(from, to, equalCounts(to.elements()));
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
        if (inRankOrder(from, op, counts)) {
            sum(from, to, counts);
            return;
        }
        if (equal(counts)) {
            scatterSums("reduceScatterV", from, to, op);
            return;
        }
        queue("reduceScatterV", c -> {
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
                                    stream().javacpp()),
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
        if (copies(from.bytes())) {
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
        if (equal(counts) && !copies(from.bytes())) {
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
        return startLending(NcclSide.BESIDE, () -> exchange(exchange, true));
    }

    @Override
    public Pending startAllToOthersV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        Exchange exchange = exchange(send, sendCounts, receive, receiveCounts);
        return startLending(NcclSide.BESIDE, () -> exchange(exchange, false));
    }

    /**
     * Leaves multiprocessors to NCCL's blocks, where it has any, until it is awaited: as many as it has channels for the other
     * ranks.
     */
    private Pending startLending(NcclSide beside, Runnable collectives) {
        if (world.peers(host, members, beside) != null) {
            return startOn(beside, collectives, () -> {});
        }
        CudaDevice device = cuda.device();
        Pending pending = startOn(beside, collectives, device::takeMultiprocessorsBack);
        device.lendMultiprocessors(channels());
        return pending;
    }

    /** @param own whether what stays on this rank is copied, beside the messages */
    private void exchange(Exchange exchange, boolean own) {
        messages(
                "allToAllV",
                exchange.sends(),
                exchange.receives(),
                own ? () -> exchange.copyOwn(cuda.memory(), stream()) : PeerLink.NOTHING);
    }

    /**
     * Queues at most one message each way between two ranks: large ones by the copy engines where the group's GPUs reach each
     * other, the rest by NCCL.
     *
     * @param meanwhile queues work of this rank's own beside them
     */
    private void messages(String what, List<PeerMessage> sends, List<PeerMessage> receives, Runnable meanwhile) {
        PeerLink peers = world.peers(host, members, side);
        world.link(host, members, side); // by all ranks, also those without small messages
        long least = leastCopied();
        Predicate<PeerMessage> large = message -> peers != null && message.bytes() >= least;
        List<PeerMessage> smallSends = sends.stream().filter(large.negate()).toList();
        List<PeerMessage> smallReceives =
                receives.stream().filter(large.negate()).toList();
        if (Stream.concat(smallSends.stream(), smallReceives.stream()).anyMatch(message -> message.count() > 0)) {
            queue(what, c -> {
                smallSends.forEach(m -> Nccl.send(c, stream(), m.tensor(), m.at(), m.count(), m.peer()));
                smallReceives.forEach(m -> Nccl.receive(c, stream(), m.tensor(), m.at(), m.count(), m.peer()));
            });
        }
        if (peers == null) {
            meanwhile.run();
        } else {
            world.check(what + " of group " + name());
            CUevent begun = cuda.device().trace().begin(stream());
            peers.queue(
                    stream(),
                    sends.stream().filter(large).toList(),
                    receives.stream().filter(large).toList(),
                    meanwhile,
                    () -> world.check(what + " of group " + name()));
            world.note(name(), what + " (queued)");
            cuda.device()
                    .trace()
                    .end(begun, (side == NcclSide.MAIN ? "copies " : "copies beside ") + what + " " + name(), stream());
        }
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
                startLending(NcclSide.ROWS, () -> gatherOthers("allGather", from, to, counts, PeerLink.NOTHING));
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
        long[] counts = equalCounts(to.elements());
        CudaTensorScope work = cuda.workspace();
        CudaTensor staging = work.allocate(from.dtype(), Shape.flat(sums.staged(to.elements())));
        Pending others = startLending(NcclSide.ROWS, () -> exchangeForSum(from, counts, staging));
        return Pending.once(() -> {
            others.await();
            sums.add(stream(), part(from, counts), staging, to);
            work.close();
        });
    }

    /**
     * By copy engines in as many rounds as there are other ranks, each with one message to send and one to receive. The first
     * addend lands where the sum goes, the others where the message of the round before came from. They are added when they are
     * awaited: a kernel on the exchange's stream would wait for multiprocessors that products beside it keep.
     */
    @Override
    public Pending startConsumingReduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        require(from.elements() == to.elements() * size(), "reduceScatter", from, to);
        long[] counts = equalCounts(to.elements());
        CudaTensor own = part(from, counts);
        boolean possible = op == ReduceOp.SUM
                && from.dtype() != DType.INT32
                && size() > 1
                && size() <= RankOrderSum.MOST_PLACES
                && own.address() != to.address()
                && to.bytes() >= PeerLink.LEAST_BYTES
                && world.peers(host, members, NcclSide.BESIDE) != null;
        if (!possible) {
            return Communicator.super.startConsumingReduceScatter(send, receive, op);
        }
        sent(from.elements() - to.elements(), from);
        CudaTensor[] addends = new CudaTensor[size()];
        addends[rank()] = own;
        Pending others = startOn(
                NcclSide.BESIDE,
                () -> {
                    CudaTensor free = to;
                    for (int round = 1; round < size(); round++) {
                        int target = (rank() + round) % size();
                        int source = Math.floorMod(rank() - round, size());
                        CudaTensor part = from.view(target * to.elements(), to.shape());
                        messages(
                                "reduceScatter",
                                List.of(new PeerMessage(target, part, 0, part.elements())),
                                List.of(new PeerMessage(source, free, 0, free.elements())),
                                PeerLink.NOTHING);
                        addends[source] = free;
                        free = part;
                    }
                },
                () -> {});
        return Pending.once(() -> {
            others.await();
            sums.add(stream(), List.of(addends), to);
        });
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

    /** NCCL's channels between GPUs of one host, {@value #CHANNELS}, are divided by ranks; this rank's share stays unused. */
    private int channels() {
        int ranks = Math.min(CHANNELS, Integer.highestOneBit(2 * size() - 1));
        return CHANNELS / ranks * Math.min(CHANNELS, size() - 1);
    }

    @Override
    public void broadcast(Tensor values, int root) {
        CudaTensor data = CudaTensor.of(values);
        sent(rank() == root ? (long) (size() - 1) * data.elements() : 0, data);
        queue("broadcast", c -> Nccl.broadcast(c, stream(), data, 0, data.elements(), root));
    }

    @Override
    public void send(Tensor values, int peer) {
        CudaTensor data = CudaTensor.of(values);
        sent(data.elements(), data);
        CudaTensorScope memory = cuda.memory().ownScope(Region.WORKSPACE); // outlives the caller
        CudaTensor copy = memory.allocate(data.dtype(), data.shape());
        cuda.memory().copy(data, copy);
        NcclSide way = messages(rank(), peer);
        NcclLane lane = world.lane(way);
        lane.follow();
        CudaStream stream = lane.stream();
        world.link(host, members, way)
                .queue("send", name(), stream, true, c -> Nccl.send(c, stream, copy, 0, copy.elements(), peer));
        lane.keep(memory);
    }

    /** The side of messages from a member to another; with the first one all ranks make the links of all of them. */
    private NcclSide messages(int from, int to) {
        if (!messagesPossible) {
            for (NcclSide each : NcclSide.ofMessages(size())) {
                world.link(host, members, each);
            }
            messagesPossible = true;
        }
        return NcclSide.ofMessage(from, to, size());
    }

    @Override
    public void receive(Tensor values, int peer) {
        CudaTensor data = CudaTensor.of(values);
        startOn(
                        messages(peer, rank()),
                        () -> queue("receive", c -> Nccl.receive(c, stream(), data, 0, data.elements(), peer)),
                        () -> {})
                .await();
    }

    @Override
    public Pending start(Runnable collectives) {
        return startOn(NcclSide.BESIDE, collectives, () -> {});
    }

    /**
     * @param awaited runs once, when the result is awaited
     */
    private Pending startOn(NcclSide other, Runnable operations, Runnable awaited) {
        NcclLane lane = world.lane(other);
        lane.follow();
        side = other;
        try {
            operations.run();
        } finally {
            side = NcclSide.MAIN;
        }
        return lane.pending(name(), awaited);
    }

    @Override
    public boolean overlaps() {
        return true;
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

    /** The link to the other ranks stays: the world's other groups may use it. */
    @Override
    public void close() {
        host.close();
    }

    /**
     * Whether it is a {@link RankOrderSum}, as BF16 always is over more than two ranks. NCCL's sum of two has the same bits, one
     * addition and one rounding, so there it is a question of speed.
     *
     * @param parts elements of each rank's part
     */
    private boolean inRankOrder(CudaTensor values, ReduceOp op, long... parts) {
        if (op != ReduceOp.SUM || size() == 1 || values.dtype() != DType.BF16) {
            return false;
        }
        long bytes = Arrays.stream(parts).max().orElse(0) * values.dtype().bytes();
        return size() > 2 || (side != NcclSide.MAIN || bytes >= LEAST_SUMMED_ALONE) && copies(bytes);
    }

    /** Whether messages of so many bytes, or most of them, go by the copy engines. */
    private boolean copies(long bytes) {
        return bytes >= leastCopied() && world.peers(host, members, side) != null;
    }

    private long leastCopied() {
        return side == NcclSide.MAIN ? PeerLink.LEAST_BYTES_ALONE : PeerLink.LEAST_BYTES;
    }

    /** Sums every rank's parts into {@code to}, each in its owner. */
    private void sum(CudaTensor from, CudaTensor to, long[] counts) {
        long staged = sums.staged(counts[rank()]);
        if (side != NcclSide.MAIN) {
            sum(from, to, counts, world.lane(side).scratch(from.dtype(), staged));
            return;
        }
        try (CudaTensorScope work = cuda.workspace()) {
            sum(from, to, counts, work.allocate(from.dtype(), Shape.flat(staged)));
        }
    }

    private void sum(CudaTensor from, CudaTensor to, long[] counts, CudaTensor staging) {
        exchangeForSum(from, counts, staging);
        sums.add(stream(), part(from, counts), staging, to);
    }

    private void exchangeForSum(CudaTensor from, long[] counts, CudaTensor staging) {
        messages(
                "exchange for a sum",
                PeerMessage.ofOthers(rank(), from, counts),
                sums.receives(staging, counts[rank()]),
                PeerLink.NOTHING);
    }

    private void scatterSums(String what, CudaTensor from, CudaTensor to, ReduceOp op) {
        queue(
                what,
                c -> Nccl.check(
                        nccl.ncclReduceScatter(
                                Nccl.pointer(from, 0),
                                Nccl.pointer(to, 0),
                                to.elements(),
                                Nccl.type(from.dtype()),
                                Nccl.op(op),
                                c,
                                stream().javacpp()),
                        "ncclReduceScatter"));
    }

    private void gatherEqual(String what, CudaTensor from, CudaTensor to) {
        queue(
                what,
                c -> Nccl.check(
                        nccl.ncclAllGather(
                                Nccl.pointer(from, 0),
                                Nccl.pointer(to, 0),
                                from.elements(),
                                Nccl.type(from.dtype()),
                                c,
                                stream().javacpp()),
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
        queue("allGatherV", c -> {
            long at = 0;
            for (int root = 0; root < size(); root++) {
                Nccl.broadcast(c, stream(), to, at, counts[root], root);
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
        messages(what, sends, PeerMessage.ofOthers(rank(), to, counts), meanwhile);
    }

    private void copyOwn(CudaTensor from, CudaTensor to, long[] counts) {
        CudaTensor own = part(to, counts);
        if (own.address() != from.address()) {
            cuda.memory().copyOn(stream(), from, own);
        }
    }

    /** This rank's part of tensors whose parts follow each other. */
    private CudaTensor part(CudaTensor all, long[] counts) {
        long start = Arrays.stream(counts, 0, rank()).sum();
        return all.view(start, Shape.flat(counts[rank()]));
    }

    private void queue(String what, NcclLink.Calls calls) {
        world.link(host, members, side).queue(what, name(), stream(), side != NcclSide.MAIN, calls);
    }

    private CudaStream stream() {
        return side == NcclSide.MAIN ? cuda.device().stream() : world.lane(side).stream();
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
