package io.fourfold.moe;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Plans how tokens reach the ranks that compute their experts, once each: all-to-all-v over the ranks that hold different
 * experts (EP), all-gather-v over those that hold parts of the same ones (ETP). Arrived tokens are in the order of the ranks
 * they come from, (EP rank, ETP rank), as {@link ExpertExchange} has them.
 */
final class TokenExchange {
    private static final int TOKENS = 0;
    private static final int SLOTS = 1;
    private static final int COUNTS = 2;

    /**
     * Where the tokens go.
     *
     * @param route from this rank's tokens to those that visit this rank
     * @param alone the exchange when it is the route's only stage, else null
     * @param tokens how many visit it
     * @param rows slots of them whose experts are here
     */
    record Plan(RowRoute route, @Nullable AllToAllStage alone, int tokens, int rows) {}

    private final Backend backend;
    private final Communicator expertGroup;
    private final Communicator tensorGroup;
    private final int experts;
    private final int topK;

    TokenExchange(Backend backend, Communicator expertGroup, Communicator tensorGroup, int experts, int topK) {
        this.backend = backend;
        this.expertGroup = expertGroup;
        this.tensorGroup = tensorGroup;
        this.experts = experts;
        this.topK = topK;
    }

    /**
     * Reads counts on the host, because message sizes are host values.
     *
     * @param kept scope of the index maps
     */
    Plan plan(Routing routing, TensorScope kept, TensorScope work) {
        MoeOps ops = backend.moe();
        int ranks = expertGroup.size();
        int slots = Math.toIntExact(routing.kept().elements());
        int width = ranks * COUNTS;
        // Sent counts, then those received from the EP group by each rank of the ETP group: one buffer, read once.
        Tensor counts = work.allocate(DType.INT32, (1 + tensorGroup.size()) * width);
        Tensor sent = counts.view(0, Shape.of(ranks, COUNTS));
        Tensor received = counts.view(width, Shape.of(tensorGroup.size(), width));
        Tensor rankOfSlot = work.allocate(DType.INT32, slots / topK, topK);
        ops.ranksOfSlots(routing.kept(), experts / ranks, rankOfSlot, sent);
        exchangeCounts(sent, received, work);
        Tensor rowOfSlot = kept.allocate(DType.INT32, slots);
        Tensor slotOfRow = kept.allocate(DType.INT32, slots);
        ops.buildPermutation(rankOfSlot, work.allocate(DType.INT32, ranks + 1), rowOfSlot, slotOfRow);

        int[] host = backend.downloadInts(counts);
        int[] own = Arrays.copyOfRange(host, 0, width);
        int[] all = Arrays.copyOfRange(host, width, host.length);
        int[] mine = Arrays.copyOfRange(all, tensorGroup.rank() * width, (tensorGroup.rank() + 1) * width);
        List<RowStage> stages = new ArrayList<>();
        AllToAllStage exchange = null;
        if (ranks > 1) {
            exchange = new AllToAllStage(expertGroup, every(own, TOKENS), every(mine, TOKENS));
            stages.add(exchange);
        }
        int tokens = Math.toIntExact(sum(every(all, TOKENS)));
        if (tensorGroup.size() > 1) {
            long[] tokensOfRank = new long[tensorGroup.size()];
            for (int i = 0; i < tokensOfRank.length; i++) {
                tokensOfRank[i] = sum(every(Arrays.copyOfRange(all, i * width, (i + 1) * width), TOKENS));
            }
            stages.add(new ExpertTensorStage(tensorGroup, tokensOfRank));
            if (ranks > 1) {
                stages.add(inOrderOfRanks(every(all, TOKENS), tokens, kept, work));
            }
        }
        SlotPermutation permutation = new SlotPermutation(
                ops, topK, rowOfSlot, slotOfRow.view(0, Shape.of(Math.toIntExact(sum(every(own, TOKENS))))));
        return new Plan(
                new RowRoute(permutation, stages),
                stages.size() == 1 ? exchange : null,
                tokens,
                Math.toIntExact(sum(every(all, SLOTS))));
    }

    private void exchangeCounts(Tensor sent, Tensor received, TensorScope work) {
        Tensor fromGroup = tensorGroup.size() == 1 ? received : work.allocate(DType.INT32, sent.shape());
        if (expertGroup.size() == 1) {
            backend.elementwise().copy(sent, fromGroup);
        } else {
            long[] pairs = new long[expertGroup.size()];
            Arrays.fill(pairs, COUNTS);
            expertGroup.allToAllV(sent, pairs, fromGroup, pairs);
        }
        if (tensorGroup.size() > 1) {
            tensorGroup.allGather(fromGroup, received);
        }
    }

    /** From (ETP rank, EP rank) to (EP rank, ETP rank). */
    private SegmentSortStage inOrderOfRanks(long[] counts, int tokens, TensorScope kept, TensorScope work) {
        int[] segments = Arrays.stream(counts).mapToInt(Math::toIntExact).toArray();
        Tensor matrix = work.allocate(DType.INT32, tensorGroup.size(), expertGroup.size());
        backend.upload(segments, matrix);
        Tensor offsets = work.allocate(DType.INT32, expertGroup.size() + 1);
        return SegmentSortStage.of(backend.moe(), matrix, offsets, tokens, kept);
    }

    private static long[] every(int[] counts, int which) {
        long[] values = new long[counts.length / COUNTS];
        for (int i = 0; i < values.length; i++) {
            values[i] = counts[i * COUNTS + which];
        }
        return values;
    }

    private static long sum(long[] values) {
        return Arrays.stream(values).sum();
    }
}
