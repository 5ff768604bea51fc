package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.comm.WatchableWorld;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.Shape;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;

/**
 * Ranks with a GPU each, connected by NCCL. The host world that the rendezvous made carries one small payload a group,
 * NCCL's id, and the news of failures; tensors never pass through the host.
 *
 * <p>Collectives are queued on the GPU's stream and return at once. A thread of this world asks NCCL for errors of running
 * operations and the host world for the end of the run; on either it aborts every communicator, which frees a GPU and a
 * host thread that wait for a rank that is gone. Sums of FP32 are taken in an order that NCCL chooses from topology, size
 * and number of ranks: the same from run to run on the same machines with the same NCCL settings, another one elsewhere.
 *
 * <p>Closing it leaves the host world open: that belongs to whoever made it.
 */
final class NcclWorld implements CommunicationWorld {
    private static final long POLL_MILLIS = 100;

    /** After an abort flags are raised again for so long, for what peers had queued before may lower them. */
    private static final int RELEASES = 20;

    private final CudaRuntime cuda;
    private final CommunicationWorld host;
    private final PeerLinks peers;
    private final Map<NcclSide, Map<List<Integer>, NcclLink>> links = new EnumMap<>(NcclSide.class);
    /** All links, for the watcher. */
    private final List<NcclLink> all = new CopyOnWriteArrayList<>();

    private final Thread watcher;
    private final Map<NcclSide, NcclLane> lanes = new EnumMap<>(NcclSide.class);
    private volatile @Nullable String broken;
    private volatile boolean closed;

    NcclWorld(CudaRuntime cuda, CommunicationWorld host) {
        this.cuda = cuda;
        this.host = host;
        this.peers = new PeerLinks(cuda, host instanceof InProcessWorld);
        watcher = new Thread(this::watch, "nccl-watch-" + host.rank());
        watcher.setDaemon(true);
        watcher.start();
    }

    @Override
    public int rank() {
        return host.rank();
    }

    @Override
    public int size() {
        return host.size();
    }

    /** Groups of one rank copy on the device and need no NCCL. */
    @Override
    public Communicator group(String name, List<Integer> worldRanks) {
        List<Integer> members = List.copyOf(worldRanks);
        Communicator hostGroup = host.group(name, members);
        if (members.size() == 1 && size() > 1) {
            return new HostStagedCommunicator(cuda.memory(), hostGroup);
        }
        link(hostGroup, members, NcclSide.MAIN);
        return new NcclCommunicator(cuda, this, hostGroup, members);
    }

    /**
     * The link between these ranks, made at its first use; collective then. Each side has links of its own, because
     * operations of one link never overlap.
     */
    NcclLink link(Communicator hostGroup, List<Integer> members, NcclSide side) {
        Map<List<Integer>, NcclLink> known = links.computeIfAbsent(side, s -> new HashMap<>());
        NcclLink link = known.get(members);
        if (link == null) {
            int[] id = hostGroup.rank() == 0 ? Nccl.newId() : new int[Nccl.ID_INTS];
            CpuTensor payload = CpuTensor.ofInts(id, Shape.of(Nccl.ID_INTS));
            hostGroup.broadcast(payload, 0);
            link = new NcclLink(
                    this,
                    cuda,
                    "the link of ranks " + members,
                    Nccl.join(payload.ints(), hostGroup.size(), hostGroup.rank(), side.sharesDevice()));
            known.put(members, link);
            all.add(link);
        }
        return link;
    }

    /**
     * How these ranks' GPUs copy to each other, made at its first use; collective then. Null where they cannot, or one of them
     * does not want to.
     */
    @Nullable
    PeerLink peers(Communicator hostGroup, List<Integer> members, NcclSide side) {
        return peers.link(hostGroup, members, side);
    }

    /** The stream of a side other than {@link NcclSide#MAIN}. */
    NcclLane lane(NcclSide side) {
        return lanes.computeIfAbsent(side, s -> new NcclLane(cuda.device(), cuda.memory()));
    }

    @Override
    public void abort(String reason) {
        breakAll(reason);
        host.abort(reason);
    }

    /** Tells the host world, by whose operations a watchdog judges this rank, that one was queued here. */
    void note(String group, String operation) {
        if (host instanceof WatchableWorld watchable) {
            watchable.note(group, operation);
        }
    }

    /** Throws when the world is broken. */
    void check(String what) {
        String reason = broken;
        if (reason != null) {
            throw new CommunicationException(what + ": " + reason);
        }
    }

    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        watcher.interrupt();
        try {
            watcher.join();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        if (broken == null) {
            cuda.device().stream().synchronize();
        }
        boolean idle = broken == null || becomesIdle();
        lanes.values().forEach(lane -> lane.close(broken == null));
        leavePeers(idle);
        all.forEach(NcclLink::close);
    }

    /** Memory of other processes stays taken for as long as it is open here, so a broken world closes it, too, if it can. */
    private void leavePeers(boolean idle) {
        if (!idle) {
            peers.abandon();
            return;
        }
        try {
            peers.close();
        } catch (CudaException e) {
            if (broken == null) {
                throw e;
            }
            peers.abandon(); // the GPU's context is lost
        }
    }

    /** Whether what is queued ends soon, now that nobody else takes part. */
    private boolean becomesIdle() {
        for (int i = 0; i < RELEASES; i++) {
            peers.release();
            if (cuda.device().stream().idle()
                    && lanes.values().stream().allMatch(lane -> lane.stream().idle())) {
                return true;
            }
            try {
                Thread.sleep(POLL_MILLIS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return false;
            }
        }
        return false;
    }

    private void watch() {
        cuda.device().makeCurrent();
        try {
            while (!closed && broken == null) {
                String reason = trouble();
                if (reason != null) {
                    breakAll(reason);
                    host.abort(reason);
                } else {
                    Thread.sleep(POLL_MILLIS);
                }
            }
            for (int i = 0; i < RELEASES && !closed; i++) {
                Thread.sleep(POLL_MILLIS);
                peers.release();
            }
        } catch (InterruptedException e) {
            // closing
        }
    }

    private @Nullable String trouble() {
        if (host instanceof WatchableWorld watchable && watchable.abortReason() != null) {
            return watchable.abortReason();
        }
        for (NcclLink link : all) {
            String error = link.asyncError();
            if (error != null) {
                return "NCCL, " + link + " on rank " + rank() + ": " + error;
            }
        }
        return null;
    }

    private synchronized void breakAll(String reason) {
        if (broken == null) {
            broken = reason;
            cuda.device().makeCurrent();
            peers.release();
            all.forEach(NcclLink::abort);
        }
    }
}
