package io.fourfold.kernels.cuda;

import java.util.ArrayList;
import java.util.List;

/**
 * Sums in rank order: every rank sends each owner its part, and the owner adds the parts in FP32 and rounds once, as the
 * CPU's collectives do, with the same bits. NCCL's own BF16 sums round at every rank they pass, and its FP32 sums have an
 * order of its choice.
 */
record RankOrderSum(CudaRuntime cuda, int rank, int size) {
    /** Ranks whose addends may lie anywhere; a parameter of the kernel for each. */
    static final int MOST_PLACES = 8;

    private static final int ALIGNMENT = 64;

    /** Elements of memory for what the other ranks send of a part of so many elements. */
    long staged(long elements) {
        return stride(elements) * (size - 1);
    }

    /** Elements between two ranks' parts in the staging memory: whole vectors, so that each part can be read by them. */
    private static long stride(long elements) {
        return (elements + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    /**
     * What other ranks send of this rank's part.
     *
     * @param elements of that part
     */
    List<PeerMessage> receives(CudaTensor staging, long elements) {
        List<PeerMessage> messages = new ArrayList<>();
        for (int peer = 0; peer < size; peer++) {
            if (peer != rank) {
                messages.add(new PeerMessage(peer, staging, messages.size() * stride(elements), elements));
            }
        }
        return messages;
    }

    /** Queues the sum of addends in the order of the ranks; {@code out} may be one of them. */
    void add(CudaStream stream, List<CudaTensor> addends, CudaTensor out) {
        List<Object> arguments = new ArrayList<>(addends);
        while (arguments.size() < MOST_PLACES) {
            arguments.add(out); // not read
        }
        arguments.addAll(List.of(out, out.elements(), size));
        cuda.function("rank_sum", CudaArguments.kernel("rank_sum_of", out))
                .launchLineOn(stream, CudaArguments.blocks(out.elements(), 256 * 8), 256, arguments.toArray());
    }

    /** Queues the sum of this rank's part; {@code out} may be {@code own}. */
    void add(CudaStream stream, CudaTensor own, CudaTensor staging, CudaTensor out) {
        cuda.function("rank_sum", CudaArguments.kernel("rank_sum", own))
                .launchLineOn(
                        stream,
                        CudaArguments.blocks(own.elements(), 256 * 8),
                        256,
                        own,
                        staging,
                        out,
                        own.elements(),
                        stride(own.elements()),
                        size,
                        rank);
    }
}
