package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Elements {@code [at, at + count)} of a tensor, on their way to or from another member of a group.
 *
 * @param peer index within the group
 */
record PeerMessage(int peer, CudaTensor tensor, long at, long count) {
    /**
     * A message for every part of a tensor but this rank's own.
     *
     * @param counts elements of the parts, which follow each other in the order of the ranks
     */
    static List<PeerMessage> ofOthers(int rank, CudaTensor tensor, long[] counts) {
        List<PeerMessage> messages = new ArrayList<>();
        long at = 0;
        for (int peer = 0; peer < counts.length; peer++) {
            if (peer != rank) {
                messages.add(new PeerMessage(peer, tensor, at, counts[peer]));
            }
            at += counts[peer];
        }
        return messages;
    }

    /** One rank's part of a tensor, see {@link #ofOthers}. */
    static CudaTensor part(int rank, CudaTensor tensor, long[] counts) {
        return tensor.view(Arrays.stream(counts, 0, rank).sum(), Shape.flat(counts[rank]));
    }

    long bytes() {
        return count * tensor.dtype().bytes();
    }

    /** Of the first element. */
    long address() {
        return tensor.address() + at * tensor.dtype().bytes();
    }
}
