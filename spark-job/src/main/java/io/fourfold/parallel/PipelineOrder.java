package io.fourfold.parallel;

import java.util.ArrayList;
import java.util.List;

/**
 * The order of forwards and backwards on one pipeline rank, without transfers: one-forward-one-backward (1F1B,
 * arXiv:2104.04473 section 2.2.1), interleaved when a rank has several chunks (section 2.2.2). As in Megatron Core, chunks
 * take turns for groups of PP micro-batches; the last group may be smaller.
 */
final class PipelineOrder {
    private PipelineOrder() {}

    /**
     * Forwards and backwards of rank {@code rank}.
     *
     * @param extra forwards before the first backward on top of the usual number
     */
    static List<PipelineOperation> training(int ranks, int chunks, int microBatches, int rank, int extra) {
        List<PipelineOperation> forwards = forwardOnly(ranks, chunks, microBatches);
        List<PipelineOperation> backwards = new ArrayList<>();
        for (PipelineOperation forward : forwards) {
            backwards.add(PipelineOperation.compute(false, forward.microBatch(), chunks - 1 - forward.chunk()));
        }
        int total = forwards.size();
        int warmup = Math.min(ahead(ranks, chunks, rank) + extra, total);
        List<PipelineOperation> order = new ArrayList<>(forwards.subList(0, warmup));
        for (int i = warmup; i < total; i++) {
            order.add(forwards.get(i));
            order.add(backwards.get(i - warmup));
        }
        order.addAll(backwards.subList(total - warmup, total));
        return order;
    }

    /** Forwards before the first backward in a long enough step. */
    static int ahead(int ranks, int chunks, int rank) {
        return chunks == 1 ? ranks - 1 - rank : 2 * (ranks - 1 - rank) + (chunks - 1) * ranks;
    }

    /** Forwards only; the same on every rank. */
    static List<PipelineOperation> forwardOnly(int ranks, int chunks, int microBatches) {
        List<PipelineOperation> order = new ArrayList<>();
        for (int first = 0; first < microBatches; first += ranks) {
            int end = Math.min(first + ranks, microBatches);
            for (int chunk = 0; chunk < chunks; chunk++) {
                for (int microBatch = first; microBatch < end; microBatch++) {
                    order.add(PipelineOperation.compute(true, microBatch, chunk));
                }
            }
        }
        return order;
    }
}
