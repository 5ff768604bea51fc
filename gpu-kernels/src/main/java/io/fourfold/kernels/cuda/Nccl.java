package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import org.bytedeco.cuda.global.nccl;
import org.bytedeco.cuda.nccl.ncclComm;
import org.bytedeco.cuda.nccl.ncclConfig_t;
import org.bytedeco.cuda.nccl.ncclUniqueId;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.jspecify.annotations.Nullable;

/** NCCL's calls in this project's terms; each result is checked. */
final class Nccl {
    /** Words of the id by which the ranks of a communicator find each other. */
    static final int ID_INTS = nccl.NCCL_UNIQUE_ID_BYTES / 4;

    private static final int CONFIG_BYTES = 40;
    private static final int CONFIG_MAGIC = 0xcafebeef;
    private static final int CONFIG_VERSION = 21700;
    private static final int UNDEFINED = Integer.MIN_VALUE;

    private Nccl() {}

    /** A new id, to be sent to every rank of one communicator. */
    static int[] newId() {
        try (ncclUniqueId id = new ncclUniqueId()) {
            check(nccl.ncclGetUniqueId(id), "ncclGetUniqueId");
            int[] words = new int[ID_INTS];
            new BytePointer(id)
                    .capacity(nccl.NCCL_UNIQUE_ID_BYTES)
                    .asByteBuffer()
                    .asIntBuffer()
                    .get(words);
            return words;
        } catch (LinkageError e) {
            throw new CudaException(
                    "NCCL cannot be loaded (libnccl.so.2), and several GPUs need it. Install the NCCL package for CUDA 13"
                            + " on this node and put its folder on LD_LIBRARY_PATH, or train with one rank.",
                    e);
        }
    }

    /**
     * Joins a communicator; returns when all ranks have.
     *
     * @param beside its operations run beside others of the device: NCCL's blocks then take any free multiprocessor, for
     *     clusters of neighbouring ones would wait until such a cluster is free
     */
    static ncclComm join(int[] words, int size, int rank, boolean beside) {
        try (ncclUniqueId id = new ncclUniqueId();
                ncclConfig_t config = new ncclConfig_t()) {
            new BytePointer(id)
                    .capacity(nccl.NCCL_UNIQUE_ID_BYTES)
                    .asByteBuffer()
                    .asIntBuffer()
                    .put(words);
            ncclComm communicator = new ncclComm();
            // Only the fields of NCCL 2.17 are filled in, which later versions take for what they are.
            config.size(CONFIG_BYTES).magic(CONFIG_MAGIC).version(CONFIG_VERSION);
            config.blocking(UNDEFINED).cgaClusterSize(beside ? 1 : UNDEFINED);
            config.minCTAs(UNDEFINED).maxCTAs(UNDEFINED).netName(null);
            check(
                    nccl.ncclCommInitRankConfig(communicator, size, id, rank, config),
                    "ncclCommInitRankConfig, rank " + rank + " of " + size);
            return communicator;
        }
    }

    /** Queues the sending of elements {@code [at, at + count)}; nothing where there are none. */
    static void send(ncclComm communicator, CudaStream stream, CudaTensor from, long at, long count, int peer) {
        if (count > 0) {
            check(
                    nccl.ncclSend(pointer(from, at), count, type(from.dtype()), peer, communicator, stream.javacpp()),
                    "ncclSend to " + peer);
        }
    }

    /** Queues the receiving of elements {@code [at, at + count)}; nothing where there are none. */
    static void receive(ncclComm communicator, CudaStream stream, CudaTensor to, long at, long count, int peer) {
        if (count > 0) {
            check(
                    nccl.ncclRecv(pointer(to, at), count, type(to.dtype()), peer, communicator, stream.javacpp()),
                    "ncclRecv from " + peer);
        }
    }

    /** Queues the copying of elements {@code [at, at + count)} from the root to all; nothing where there are none. */
    static void broadcast(ncclComm communicator, CudaStream stream, CudaTensor data, long at, long count, int root) {
        if (count > 0) {
            Pointer place = pointer(data, at);
            check(
                    nccl.ncclBroadcast(place, place, count, type(data.dtype()), root, communicator, stream.javacpp()),
                    "ncclBroadcast from " + root);
        }
    }

    /** The address of an element. */
    static Pointer pointer(CudaTensor tensor, long element) {
        return Addresses.of(tensor.address() + element * tensor.dtype().bytes());
    }

    static int type(DType type) {
        return switch (type) {
            case FP32 -> nccl.ncclFloat32;
            case BF16 -> nccl.ncclBfloat16;
            case INT32 -> nccl.ncclInt32;
            case INT16 -> throw new IllegalArgumentException("remainders stay with the rank that owns them");
        };
    }

    static int op(ReduceOp op) {
        return switch (op) {
            case SUM -> nccl.ncclSum;
            case MAX -> nccl.ncclMax;
        };
    }

    /** What is wrong with a communicator whose operations run; null when nothing is. */
    static @Nullable String asyncError(ncclComm communicator) {
        int[] state = new int[1];
        int result = nccl.ncclCommGetAsyncError(communicator, state);
        int error = result != nccl.ncclSuccess ? result : state[0];
        return error == nccl.ncclSuccess || error == nccl.ncclInProgress ? null : text(error);
    }

    static void check(int result, String what) {
        if (result != nccl.ncclSuccess && result != nccl.ncclInProgress) {
            throw new CommunicationException(what + " failed: " + text(result)
                    + ". Run with NCCL_DEBUG=WARN in the environment for NCCL's own account; each rank needs a GPU of"
                    + " its own, and the hosts must reach each other (NCCL_SOCKET_IFNAME chooses the network).");
        }
    }

    private static String text(int error) {
        return nccl.ncclGetErrorString(error).getString() + " (NCCL error " + error + ")";
    }
}
