package io.fourfold.kernels.cuda;

import java.util.List;

/**
 * One all-to-all of parts that follow each other in the order of the ranks.
 *
 * @param rank this one
 */
record Exchange(int rank, CudaTensor from, long[] sendCounts, CudaTensor to, long[] receiveCounts) {
    /** What goes to other ranks. */
    List<PeerMessage> sends() {
        return PeerMessage.ofOthers(rank, from, sendCounts);
    }

    /** What comes from other ranks. */
    List<PeerMessage> receives() {
        return PeerMessage.ofOthers(rank, to, receiveCounts);
    }

    /** Copies what stays on this rank. */
    void copyOwn(CudaMemory memory, CudaStream stream) {
        memory.copyOn(stream, PeerMessage.part(rank, from, sendCounts), PeerMessage.part(rank, to, receiveCounts));
    }
}
