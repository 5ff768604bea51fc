package io.fourfold.kernels.cuda;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import jcuda.driver.CUevent;
import org.bytedeco.cuda.global.nccl;
import org.bytedeco.cuda.nccl.ncclComm;
import org.jspecify.annotations.Nullable;

/** One NCCL communicator. Groups of the same ranks share it: its operations run in the order in which they are queued. */
final class NcclLink {
    private static final long ABORT_PATIENCE_SECONDS = 2;

    /** NCCL calls of one operation. */
    interface Calls {
        void queue(ncclComm communicator);
    }

    private final NcclWorld world;
    private final CudaTrace trace;
    private final String name;
    private @Nullable ncclComm communicator;
    /** Held while work is queued: an abort waits for it a little, for afterwards the communicator is gone. */
    private final ReentrantLock queueing = new ReentrantLock();

    NcclLink(NcclWorld world, CudaRuntime cuda, String name, ncclComm communicator) {
        this.world = world;
        this.trace = cuda.device().trace();
        this.name = name;
        this.communicator = communicator;
    }

    /** Queues the calls of one operation as one group, so that none of them waits for another one. */
    void queue(String operation, String group, CudaStream stream, boolean beside, Calls calls) {
        String what = operation + " of group " + group;
        queueing.lock();
        try {
            world.check(what);
            CUevent begun = trace.begin(stream);
            Nccl.check(nccl.ncclGroupStart(), "ncclGroupStart");
            try {
                calls.queue(open(what));
            } finally {
                Nccl.check(nccl.ncclGroupEnd(), what);
            }
            world.note(group, operation + " (queued)");
            trace.end(begun, (beside ? "nccl beside " : "nccl ") + operation + " " + group, stream);
        } finally {
            queueing.unlock();
        }
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

    /** All of its work is done. */
    synchronized void close() {
        if (communicator != null) {
            Nccl.check(nccl.ncclCommDestroy(communicator), "ncclCommDestroy of " + this);
            communicator = null;
        }
    }

    private synchronized ncclComm open(String what) {
        if (communicator == null) {
            throw new IllegalStateException(what + " after the end of " + this);
        }
        return communicator;
    }

    @Override
    public String toString() {
        return name;
    }
}
