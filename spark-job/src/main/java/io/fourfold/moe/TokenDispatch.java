package io.fourfold.moe;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A row for every rank that holds some of a token's experts: sort tokens by rank, all-to-all-v (EP), all-gather-v (ETP), and
 * only then copies for the experts. On the way back a rank adds its experts' rows of a token before they travel, so the sum
 * is rounded to the type of the rows once for each rank.
 *
 * <p>An expert sees the same rows in the same order as with {@link SlotDispatch}: by the rank they come from, then by token.
 */
final class TokenDispatch {
    private final Backend backend;
    private final Communicator expertGroup;
    private final TokenExchange exchange;
    private final int localExperts;
    private final int topK;
    private final @Nullable RowFormat format;

    TokenDispatch(
            Backend backend,
            Communicator expertGroup,
            Communicator tensorGroup,
            int experts,
            int topK,
            @Nullable RowFormat format) {
        this.backend = backend;
        this.expertGroup = expertGroup;
        this.exchange = new TokenExchange(backend, expertGroup, tensorGroup, experts, topK);
        this.localExperts = experts / expertGroup.size();
        this.topK = topK;
        this.format = format;
    }

    /** See {@link TokenDispatcher#plan}. */
    Dispatch plan(Routing routing, Tensor rowIds, @Nullable Tensor early, TensorScope kept, TensorScope work) {
        MoeOps ops = backend.moe();
        TokenExchange.Plan plan = exchange.plan(routing, kept, work);
        RowRoute toRanks = plan.route();
        // Packed rows are unpacked together, and parts of experts are added where they meet.
        AllToAllStage alone = format == null ? plan.alone() : null;
        SplitRoute.Departure departure =
                alone == null || early == null ? null : SplitRoute.depart(toRanks.permutation(), alone, early, work);
        Tensor packed = work.allocate(DType.INT32, toRanks.permutation().rows(), 2 * topK + 1);
        ops.packRouting(
                routing.kept(), routing.weights(), rowIds, toRanks.permutation().slotOfRow(), packed);
        Tensor arrived = toRanks.travel(packed, work, work);
        int tokens = plan.tokens();
        Tensor experts = work.allocate(DType.INT32, tokens, topK);
        Tensor weights = work.allocate(DType.FP32, tokens, topK);
        Tensor ids = work.allocate(DType.INT32, tokens);
        ops.unpackRouting(arrived, expertGroup.rank() * localExperts, localExperts, experts, weights, ids);

        Tensor offsets = kept.allocate(DType.INT32, localExperts + 1);
        Tensor rowOfSlot = kept.allocate(DType.INT32, tokens * topK);
        Tensor slotOfRow = kept.allocate(DType.INT32, plan.rows());
        ops.buildPermutation(experts, offsets, rowOfSlot, slotOfRow);
        SlotPermutation toExperts = new SlotPermutation(ops, topK, rowOfSlot, slotOfRow);
        Tensor probability = kept.allocate(DType.FP32, plan.rows(), 1);
        Tensor rowsOfIds = kept.allocate(DType.INT32, plan.rows(), 1);
        Runnable values = () -> {
            toExperts.toRows(weights, probability);
            toExperts.spread(ids.reshape(tokens, 1), 0, rowsOfIds);
        };

        List<RowStage> stages = new ArrayList<>(toRanks.stages());
        stages.add(new SlotStage(toExperts));
        WeightRoute back = (drows, dweights, scope) -> {
            // A slot's gradient is on one rank only and zero on the others: adding them is exact.
            Tensor dslots = scope.allocate(DType.FP32, tokens, topK);
            toExperts.toSlots(drows, dslots);
            Arrival arrival = toRanks.startFromExperts(dslots, scope);
            return () -> toRanks.permutation().sum(arrival.await(), dweights);
        };
        SplitRoute split = alone == null
                ? null
                : new SplitRoute(toRanks.permutation(), alone, toExperts, offsets, departure, values, kept);
        if (departure == null) {
            values.run();
        }
        return new Dispatch(
                ops,
                new RowRoute(toRanks.permutation(), stages),
                back,
                new ExpertRows(offsets, plan.rows(), probability.reshape(plan.rows()), rowsOfIds.reshape(plan.rows())),
                format,
                split);
    }
}
