package io.fourfold.moe;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Plans how permuted rows reach the ranks that compute their experts (MoE Parallel Folding, arXiv:2504.14960 section 3):
 * all-to-all-v over the ranks that hold different experts (EP), all-gather-v over those that hold parts of the same ones
 * (ETP), then a sort by local expert.
 *
 * <p>Arrived rows of an expert are in the order of the ranks they come from, whatever the split into EP and ETP is: ranks
 * number the MoE grid with ETP fastest, so that order is (EP rank, ETP rank).
 */
final class ExpertExchange {
    /**
     * Where the rows go and how they lie there.
     *
     * @param stages in the order of the way to the experts
     * @param offsets INT32 [local experts + 1]
     * @param sent rows of this rank that travel
     * @param rows rows on the experts' side
     */
    record Plan(List<RowStage> stages, Tensor offsets, int sent, int rows) {
        Plan {
            stages = List.copyOf(stages);
        }
    }

    private final Backend backend;
    private final Communicator expertGroup;
    private final Communicator tensorGroup;
    private final int experts;

    ExpertExchange(Backend backend, Communicator expertGroup, Communicator tensorGroup, int experts) {
        this.backend = backend;
        this.expertGroup = expertGroup;
        this.tensorGroup = tensorGroup;
        this.experts = experts;
    }

    /**
     * Reads the counts on the host, because message sizes are host values: the one unavoidable synchronisation of dropless
     * expert parallelism. Padded experts need none.
     *
     * @param kept scope of the index maps
     */
    Plan plan(Routing routing, TensorScope kept) {
        int local = localExperts();
        int[] sentCounts = filled(experts, routing.rowsPerExpert());
        int[] receivedCounts = sentCounts;
        Tensor received = kept.allocate(DType.INT32, expertGroup.size(), local);
        if (routing.rowsPerExpert() > 0) {
            backend.upload(sentCounts, received);
        } else {
            long[] equalParts = new long[expertGroup.size()];
            Arrays.fill(equalParts, local);
            expertGroup.allToAllV(routing.keptCounts(), equalParts, received, equalParts);
            sentCounts = backend.downloadInts(routing.keptCounts());
            receivedCounts = backend.downloadInts(received);
        }
        AllToAllStage exchange = new AllToAllStage(
                expertGroup, partSums(sentCounts, expertGroup.size()), partSums(receivedCounts, expertGroup.size()));
        List<RowStage> stages = new ArrayList<>();
        if (expertGroup.size() > 1) {
            stages.add(exchange);
        }
        Tensor offsets = kept.allocate(DType.INT32, local + 1);
        int rows = exchange.received();
        if (tensorGroup.size() > 1) {
            Tensor gathered = kept.allocate(DType.INT32, tensorGroup.size(), expertGroup.size() * local);
            tensorGroup.allGather(received, gathered);
            int[] counts = backend.downloadInts(gathered);
            ExpertTensorStage gather = new ExpertTensorStage(tensorGroup, partSums(counts, tensorGroup.size()));
            stages.add(gather);
            rows = gather.gathered();
            stages.add(sortGathered(gathered, counts, offsets, rows, kept));
        } else {
            stages.add(sort(received, offsets, rows, kept));
        }
        return new Plan(stages, offsets, exchange.sent(), rows);
    }

    private SegmentSortStage sort(Tensor counts, Tensor offsets, int rows, TensorScope kept) {
        return SegmentSortStage.of(backend.moe(), counts, offsets, rows, kept);
    }

    /**
     * From (ETP rank, EP rank, expert) to (expert, EP rank, ETP rank) in two transpositions, joined into one.
     *
     * @param counts INT32 [ETP, EP * local experts]
     * @param hostCounts the same on the host
     */
    private SegmentSortStage sortGathered(Tensor counts, int[] hostCounts, Tensor offsets, int rows, TensorScope kept) {
        int segments = counts.dim(1);
        if (expertGroup.size() == 1) {
            return sort(counts, offsets, rows, kept);
        }
        SegmentSortStage bySource = sort(counts, kept.allocate(DType.INT32, segments + 1), rows, kept);
        Tensor merged = kept.allocate(DType.INT32, expertGroup.size(), localExperts());
        backend.upload(columnSums(hostCounts, segments), merged);
        SegmentSortStage byExpert = sort(merged, offsets, rows, kept);
        return new SegmentSortStage(
                backend.moe(),
                joined(bySource.sourceOfTarget(), byExpert.sourceOfTarget(), kept),
                joined(byExpert.targetOfSource(), bySource.targetOfSource(), kept));
    }

    /** out[i] = outer[inner[i]]. */
    private Tensor joined(Tensor outer, Tensor inner, TensorScope kept) {
        int rows = Math.toIntExact(inner.elements());
        Tensor out = kept.allocate(DType.INT32, rows);
        backend.moe().gatherRows(outer.reshape(rows, 1), inner, 1, out.reshape(rows, 1));
        return out;
    }

    /** Sums of {@code parts} equal parts of the counts: the rows that go to, or come from, each rank of a group. */
    private static long[] partSums(int[] counts, int parts) {
        long[] sums = new long[parts];
        for (int i = 0; i < counts.length; i++) {
            sums[i / (counts.length / parts)] += counts[i];
        }
        return sums;
    }

    private static int[] columnSums(int[] matrix, int cols) {
        int[] sums = new int[cols];
        for (int i = 0; i < matrix.length; i++) {
            sums[i % cols] += matrix[i];
        }
        return sums;
    }

    private static int[] filled(int size, int value) {
        int[] values = new int[size];
        Arrays.fill(values, value);
        return values;
    }

    private int localExperts() {
        return experts / expertGroup.size();
    }
}
