package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.WatchableWorld;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.Shape;
import java.util.List;
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
 */
final class NcclWorld implements CommunicationWorld {
    private static final long POLL_MILLIS = 100;

    private final CudaRuntime cuda;
    private final CommunicationWorld host;
    private final List<NcclCommunicator> groups = new CopyOnWriteArrayList<>();
    private final Thread watcher;
    private volatile @Nullable String broken;
    private volatile boolean closed;

    NcclWorld(CudaRuntime cuda, CommunicationWorld host) {
        this.cuda = cuda;
        this.host = host;
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

    @Override
    public Communicator group(String name, List<Integer> worldRanks) {
        Communicator hostGroup = host.group(name, worldRanks);
        int[] id = hostGroup.rank() == 0 ? Nccl.newId() : new int[Nccl.ID_INTS];
        CpuTensor payload = CpuTensor.ofInts(id, Shape.of(Nccl.ID_INTS));
        hostGroup.broadcast(payload, 0);
        NcclCommunicator group = new NcclCommunicator(
                cuda, this, hostGroup, Nccl.join(payload.ints(), hostGroup.size(), hostGroup.rank()));
        groups.add(group);
        return group;
    }

    @Override
    public void abort(String reason) {
        breakAll(reason);
        host.abort(reason);
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
        closed = true;
        watcher.interrupt();
        try {
            watcher.join();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        groups.forEach(NcclCommunicator::close);
        host.close();
    }

    private void watch() {
        cuda.device().makeCurrent();
        while (!closed && broken == null) {
            String reason = trouble();
            if (reason != null) {
                breakAll(reason);
                host.abort(reason);
                return;
            }
            try {
                Thread.sleep(POLL_MILLIS);
            } catch (InterruptedException e) {
                return; // closing
            }
        }
    }

    private @Nullable String trouble() {
        if (host instanceof WatchableWorld watchable && watchable.abortReason() != null) {
            return watchable.abortReason();
        }
        for (NcclCommunicator group : groups) {
            String error = group.asyncError();
            if (error != null) {
                return "NCCL group " + group.name() + " on rank " + rank() + ": " + error;
            }
        }
        return null;
    }

    private synchronized void breakAll(String reason) {
        if (broken == null) {
            broken = reason;
            cuda.device().makeCurrent();
            groups.forEach(NcclCommunicator::abort);
        }
    }
}
