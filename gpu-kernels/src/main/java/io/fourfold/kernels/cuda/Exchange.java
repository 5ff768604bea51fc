package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.Shape;
import java.util.Arrays;
import org.bytedeco.cuda.nccl.ncclComm;

/**
 * One all-to-all of parts that follow each other in the order of the ranks.
 *
 * @param rank this one
 */
record Exchange(int rank, CudaTensor from, long[] sendCounts, CudaTensor to, long[] receiveCounts) {
    /** Queues the messages, this rank's to itself only with {@code own}. */
    void queue(ncclComm communicator, CudaStream stream, boolean own) {
        long out = 0;
        long in = 0;
        for (int peer = 0; peer < sendCounts.length; peer++) {
            if (own || peer != rank) {
                Nccl.send(communicator, stream, from, out, sendCounts[peer], peer);
                Nccl.receive(communicator, stream, to, in, receiveCounts[peer], peer);
            }
            out += sendCounts[peer];
            in += receiveCounts[peer];
        }
    }

    /** Copies what stays on this rank. */
    void copyOwn(CudaMemory memory, CudaStream stream) {
        Shape own = Shape.flat(sendCounts[rank]);
        memory.copyOn(stream, from.view(start(sendCounts), own), to.view(start(receiveCounts), own));
    }

    private long start(long[] counts) {
        return Arrays.stream(counts, 0, rank).sum();
    }
}
