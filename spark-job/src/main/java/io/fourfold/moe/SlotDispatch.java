package io.fourfold.moe;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A row for every slot: permute by expert, all-to-all-v (EP), all-gather-v (ETP), sort by local expert; then the way back.
 * The k rows of a token are added where the token is, as with one rank, so results have the same bits.
 */
final class SlotDispatch {
    private final Backend backend;
    private final boolean exchanged;
    private final ExpertExchange exchange;
    private final int experts;
    private final int topK;
    private final @Nullable RowFormat format;

    SlotDispatch(
            Backend backend,
            Communicator expertGroup,
            Communicator tensorGroup,
            int experts,
            int topK,
            @Nullable RowFormat format) {
        this.backend = backend;
        this.exchanged = expertGroup.size() > 1 || tensorGroup.size() > 1;
        this.exchange = new ExpertExchange(backend, expertGroup, tensorGroup, experts);
        this.experts = experts;
        this.topK = topK;
        this.format = format;
    }

    /** See {@link TokenDispatcher#plan}. */
    Dispatch plan(Routing routing, Tensor rowIds, TensorScope kept, TensorScope work) {
        MoeOps ops = backend.moe();
        int slots = Math.toIntExact(routing.kept().elements());
        Tensor offsets = kept.allocate(DType.INT32, experts + 1);
        Tensor rowOfSlot = kept.allocate(DType.INT32, slots);
        boolean padded = routing.rowsPerExpert() > 0;
        int bound = padded ? experts * routing.rowsPerExpert() : slots;
        Tensor slotOfRow = kept.allocate(DType.INT32, bound);
        if (padded) {
            ops.buildPaddedPermutation(routing.kept(), routing.rowsPerExpert(), offsets, rowOfSlot, slotOfRow);
        } else {
            ops.buildPermutation(routing.kept(), offsets, rowOfSlot, slotOfRow);
        }
        List<RowStage> stages = List.of();
        int rows = bound;
        if (exchanged) {
            ExpertExchange.Plan plan = exchange.plan(routing, kept);
            stages = plan.stages();
            rows = plan.rows();
            offsets = plan.offsets();
            slotOfRow = slotOfRow.view(0, Shape.of(plan.sent()));
        }
        SlotPermutation permutation = new SlotPermutation(ops, topK, rowOfSlot, slotOfRow);
        RowRoute route = new RowRoute(permutation, stages);
        Tensor ownProbability = permutation.toRows(routing.weights(), stages.isEmpty() ? kept : work);
        Tensor probability = route.travel(ownProbability, work, kept);
        Tensor travelledIds = route.toExperts(rowIds.reshape(slots / topK, 1), work, kept);
        WeightRoute weights = (drows, dweights, scope) -> {
            Arrival arrival = route.startFromExperts(drows, scope);
            return () -> permutation.toSlots(arrival.await(), dweights);
        };
        return new Dispatch(
                ops,
                route,
                weights,
                new ExpertRows(offsets, rows, probability.reshape(rows), travelledIds.reshape(rows)),
                format,
                null);
    }
}
