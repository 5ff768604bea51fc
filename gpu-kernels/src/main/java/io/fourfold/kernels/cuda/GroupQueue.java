package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Stream;
import jcuda.driver.CUevent;
import org.jspecify.annotations.Nullable;

/**
 * Where the operations of a group are queued: on the device's stream or, while {@link #startOn} runs, on the {@link NcclLane} of
 * another side; by NCCL or, large messages within a host, by the copy engines.
 */
final class GroupQueue {
    private static final int CHANNELS = 32;

    private final CudaRuntime cuda;
    private final NcclWorld world;
    private final Communicator host;
    private final List<Integer> members;
    private NcclSide side = NcclSide.MAIN;
    private boolean messagesPossible;

    /**
     * @param host the group on the hosts, which carries what the links need
     * @param members world ranks
     */
    GroupQueue(CudaRuntime cuda, NcclWorld world, Communicator host, List<Integer> members) {
        this.cuda = cuda;
        this.world = world;
        this.host = host;
        this.members = members;
    }

    CudaRuntime cuda() {
        return cuda;
    }

    int rank() {
        return host.rank();
    }

    int size() {
        return host.size();
    }

    NcclSide side() {
        return side;
    }

    NcclLane lane() {
        return world.lane(side);
    }

    CudaStream stream() {
        return side == NcclSide.MAIN ? cuda.device().stream() : lane().stream();
    }

    /** This rank's part of a tensor whose parts, of so many elements, follow each other in the order of the ranks. */
    CudaTensor part(CudaTensor all, long[] counts) {
        return PeerMessage.part(rank(), all, counts);
    }

    /** Throws when the world is broken. */
    void check(String what) {
        world.check(what + " of group " + host.name());
    }

    /** Queues NCCL's calls for one operation. */
    void nccl(String what, NcclLink.Calls calls) {
        world.link(host, members, side).queue(what, host.name(), stream(), side != NcclSide.MAIN, calls);
    }

    /**
     * Queues at most one message each way between two ranks: large ones by the copy engines where the group's GPUs reach each
     * other, the rest by NCCL.
     *
     * @param meanwhile queues work of this rank's own beside them
     */
    void messages(String what, List<PeerMessage> sends, List<PeerMessage> receives, Runnable meanwhile) {
        PeerLink peers = peers(side);
        world.link(host, members, side); // by all ranks, also those without small messages
        Predicate<PeerMessage> large = message -> peers != null && message.bytes() >= leastCopied();
        List<PeerMessage> smallSends = sends.stream().filter(large.negate()).toList();
        List<PeerMessage> smallReceives =
                receives.stream().filter(large.negate()).toList();
        if (Stream.concat(smallSends.stream(), smallReceives.stream()).anyMatch(message -> message.count() > 0)) {
            nccl(what, c -> {
                smallSends.forEach(m -> Nccl.send(c, stream(), m.tensor(), m.at(), m.count(), m.peer()));
                smallReceives.forEach(m -> Nccl.receive(c, stream(), m.tensor(), m.at(), m.count(), m.peer()));
            });
        }
        if (peers == null) {
            meanwhile.run();
        } else {
            copy(
                    peers,
                    what,
                    sends.stream().filter(large).toList(),
                    receives.stream().filter(large).toList(),
                    meanwhile);
        }
    }

    private void copy(
            PeerLink peers, String what, List<PeerMessage> sends, List<PeerMessage> receives, Runnable meanwhile) {
        check(what);
        CudaTrace trace = cuda.device().trace();
        CUevent begun = trace.begin(stream());
        peers.queue(stream(), sends, receives, meanwhile, () -> check(what));
        world.note(host.name(), what + " (queued)");
        trace.end(begun, (side == NcclSide.MAIN ? "copies " : "copies beside ") + what + " " + host.name(), stream());
    }

    /** Whether messages of so many bytes, or most of them, go by the copy engines. */
    boolean copies(long bytes) {
        return bytes >= leastCopied() && peers(side) != null;
    }

    /** The same for what is started on another side. */
    boolean copiesBeside(NcclSide other, long bytes) {
        return bytes >= PeerLink.LEAST_BYTES && peers(other) != null;
    }

    private long leastCopied() {
        return side == NcclSide.MAIN ? PeerLink.LEAST_BYTES_ALONE : PeerLink.LEAST_BYTES;
    }

    private @Nullable PeerLink peers(NcclSide of) {
        return world.peers(host, members, of);
    }

    /**
     * Queues operations on another side; what was queued before is done before they begin.
     *
     * @param awaited runs once, when the result is awaited
     */
    Pending startOn(NcclSide other, Runnable operations, Runnable awaited) {
        NcclLane lane = world.lane(other);
        lane.follow();
        side = other;
        try {
            operations.run();
        } finally {
            side = NcclSide.MAIN;
        }
        return lane.pending(host.name(), awaited);
    }

    /**
     * The same, and leaves multiprocessors to NCCL's blocks, where it has any, until the result is awaited: as many as it has
     * channels for the other ranks.
     */
    Pending startLending(NcclSide beside, Runnable operations) {
        if (peers(beside) != null) {
            return startOn(beside, operations, () -> {});
        }
        CudaDevice device = cuda.device();
        Pending pending = startOn(beside, operations, device::takeMultiprocessorsBack);
        device.lendMultiprocessors(channels());
        return pending;
    }

    /** NCCL's channels between GPUs of one host, {@value #CHANNELS}, are divided by ranks; this rank's share stays unused. */
    private int channels() {
        int ranks = Math.min(CHANNELS, Integer.highestOneBit(2 * size() - 1));
        return CHANNELS / ranks * Math.min(CHANNELS, size() - 1);
    }

    /** Sends memory that is released when it has been sent. */
    void send(CudaTensor copy, CudaTensorScope memory, int peer) {
        NcclSide way = way(rank(), peer);
        NcclLane lane = world.lane(way);
        lane.follow();
        CudaStream stream = lane.stream();
        world.link(host, members, way)
                .queue("send", host.name(), stream, true, c -> Nccl.send(c, stream, copy, 0, copy.elements(), peer));
        lane.keep(memory);
    }

    /** What is queued afterwards waits for the message. */
    void receive(CudaTensor data, int peer) {
        startOn(
                        way(peer, rank()),
                        () -> nccl("receive", c -> Nccl.receive(c, stream(), data, 0, data.elements(), peer)),
                        () -> {})
                .await();
    }

    /** The side of messages from a member to another; with the first one all ranks make the links of all of them. */
    private NcclSide way(int from, int to) {
        if (!messagesPossible) {
            for (NcclSide each : NcclSide.ofMessages(size())) {
                world.link(host, members, each);
            }
            messagesPossible = true;
        }
        return NcclSide.ofMessage(from, to, size());
    }
}
