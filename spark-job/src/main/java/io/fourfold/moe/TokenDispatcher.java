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
 * Takes token rows to the experts that the router chose and back: permute, all-to-all-v (EP), all-gather-v (ETP), sort
 * by local expert; then the way back (MoE Parallel Folding, arXiv:2504.14960 section 3).
 *
 * <p>With one rank in the expert-parallel groups nothing is communicated and the host reads nothing: buffers have the
 * bound T * k. With several, the host reads two small vectors of counts, because message sizes are host values; with
 * padded capacity it reads nothing.
 */
public final class TokenDispatcher {
    private final Backend backend;
    private final Communicator expertGroup;
    private final Communicator tensorGroup;
    private final ExpertExchange exchange;
    private final int experts;
    private final int topK;
    private final @Nullable RowFormat format;

    /**
     * @param expertGroup the EP group; rank r of it holds experts {@code r * E/EP .. (r+1) * E/EP}
     * @param tensorGroup the ETP group, whose ranks hold parts of the same experts
     * @param format how rows travel to the experts in the forward pass; null = as they are
     */
    public TokenDispatcher(
            Backend backend,
            Communicator expertGroup,
            Communicator tensorGroup,
            int experts,
            int topK,
            @Nullable RowFormat format) {
        if (experts % expertGroup.size() != 0) {
            throw new IllegalArgumentException(
                    experts + " experts do not split over " + expertGroup.size() + " expert-parallel ranks");
        }
        this.backend = backend;
        this.expertGroup = expertGroup;
        this.tensorGroup = tensorGroup;
        this.exchange = new ExpertExchange(backend, expertGroup, tensorGroup, experts);
        this.experts = experts;
        this.topK = topK;
        this.format = format;
    }

    /**
     * Plans the way of one micro-batch's rows; routing weights and row ids travel here.
     *
     * @param rowIds INT32 [T]
     * @param kept scope of everything that backward needs
     */
    public Dispatch plan(Routing routing, Tensor rowIds, TensorScope kept, TensorScope work) {
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
        if (expertGroup.size() > 1 || tensorGroup.size() > 1) {
            ExpertExchange.Plan plan = exchange.plan(routing, kept);
            stages = plan.stages();
            rows = plan.rows();
            offsets = plan.offsets();
            slotOfRow = slotOfRow.view(0, Shape.of(plan.sent()));
        }
        RowRoute route = new RowRoute(ops, rowOfSlot, slotOfRow, stages);
        Tensor probability = route.toExperts(routing.weights().reshape(slots, 1), 1, work, kept);
        Tensor travelledIds = route.toExperts(rowIds.reshape(slots / topK, 1), topK, work, kept);
        return new Dispatch(
                ops,
                topK,
                route,
                new ExpertRows(offsets, rows, probability.reshape(rows), travelledIds.reshape(rows)),
                format);
    }
}
