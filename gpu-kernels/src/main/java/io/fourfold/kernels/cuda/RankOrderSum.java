package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import org.bytedeco.cuda.nccl.ncclComm;

/**
 * Sums of BF16 values: every rank sends each owner its part, and the owner adds the parts in rank order in FP32 and rounds
 * once, as the CPU's collectives do, with the same bits. Half the bytes of a sum in FP32. NCCL's own BF16 sums round at
 * every rank they pass.
 */
record RankOrderSum(CudaRuntime cuda, int rank, int size) {
    private static final int ALIGNMENT = 64;

    /** Memory for what the other ranks send of a part of so many elements. */
    CudaTensor staging(CudaTensorScope scope, long elements) {
        return scope.allocate(DType.BF16, Shape.flat(stride(elements) * (size - 1)));
    }

    /** Elements between two ranks' parts in the staging memory: whole vectors, so that each part can be read by them. */
    private static long stride(long elements) {
        return (elements + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    /**
     * Queues the exchange.
     *
     * @param counts elements of each owner's part of {@code values}, which follow each other
     */
    void exchange(ncclComm communicator, CudaStream stream, CudaTensor values, long[] counts, CudaTensor staging) {
        long at = 0;
        int slot = 0;
        for (int peer = 0; peer < size; peer++) {
            if (peer != rank) {
                Nccl.send(communicator, stream, values, at, counts[peer], peer);
                Nccl.receive(communicator, stream, staging, slot * stride(counts[rank]), counts[rank], peer);
                slot++;
            }
            at += counts[peer];
        }
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
