package io.fourfold.moe;

import io.fourfold.config.DispatchUnit;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Takes token rows to the experts that the router chose and back (MoE Parallel Folding, arXiv:2504.14960 section 3): a row
 * for every slot ({@link SlotDispatch}), or for every rank that has some of the token's experts ({@link TokenDispatch}).
 *
 * <p>With one rank in the expert-parallel groups nothing is communicated and the host reads nothing: buffers have the
 * bound T * k. With several, the host reads two small vectors of counts, because message sizes are host values; with
 * padded capacity it reads nothing.
 */
public final class TokenDispatcher {
    private final SlotDispatch slots;
    private final @Nullable TokenDispatch tokens;

    /**
     * @param expertGroup the EP group; rank r of it holds experts {@code r * E/EP .. (r+1) * E/EP}
     * @param tensorGroup the ETP group, whose ranks hold parts of the same experts
     * @param unit what travels between ranks
     * @param format how rows travel to the experts in the forward pass; null = as they are
     */
    public TokenDispatcher(
            Backend backend,
            Communicator expertGroup,
            Communicator tensorGroup,
            int experts,
            int topK,
            DispatchUnit unit,
            @Nullable RowFormat format) {
        if (experts % expertGroup.size() != 0) {
            throw new IllegalArgumentException(
                    experts + " experts do not split over " + expertGroup.size() + " expert-parallel ranks");
        }
        boolean exchanged = expertGroup.size() > 1 || tensorGroup.size() > 1;
        this.slots = new SlotDispatch(backend, expertGroup, tensorGroup, experts, topK, format);
        this.tokens = exchanged && unit == DispatchUnit.TOKEN
                ? new TokenDispatch(backend, expertGroup, tensorGroup, experts, topK, format)
                : null;
    }

    /** Whether rows may come and go in two parts, see {@link Dispatch#splits}. */
    public boolean splits() {
        return tokens != null;
    }

    /**
     * Plans the way of one micro-batch's rows; routing weights and row ids travel here. Rows padded to a capacity travel as
     * slots: their number is known without asking the device.
     *
     * @param rowIds INT32 [T]
     * @param early the rows [T, C] for which {@link Dispatch#startDispatch} must be called next where {@link Dispatch#splits}:
     *     they leave while the rest of the way is planned; null = no such rows
     * @param kept scope of everything that backward needs
     */
    public Dispatch plan(Routing routing, Tensor rowIds, @Nullable Tensor early, TensorScope kept, TensorScope work) {
        return tokens == null || routing.rowsPerExpert() > 0
                ? slots.plan(routing, rowIds, kept, work)
                : tokens.plan(routing, rowIds, early, kept, work);
    }
}
