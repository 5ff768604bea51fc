package io.fourfold.moe;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * The planned way of one micro-batch's rows to the experts and back. Forward is {@link #dispatch} and {@link #combine};
 * backward is {@link #combineBackward} and {@link #dispatchBackward}. Only index maps and counts are kept, no rows.
 */
public final class Dispatch {
    private final MoeOps ops;
    private final int topK;
    private final RowRoute route;
    private final ExpertRows rows;
    private final @Nullable RowFormat format;

    /**
     * @param format how rows travel in the forward pass; null = as they are
     */
    Dispatch(MoeOps ops, int topK, RowRoute route, ExpertRows rows, @Nullable RowFormat format) {
        this.ops = ops;
        this.topK = topK;
        this.route = route;
        this.rows = rows;
        this.format = format;
    }

    /** How the rows lie on the experts' side. */
    public ExpertRows rows() {
        return rows;
    }

    /** What {@link #dispatch} does where rows are copies of tokens as they are; null where they travel or are packed. */
    public @Nullable RowCopies dispatchCopies() {
        return format == null ? combineBackwardCopies() : null;
    }

    /** What {@link #combineBackward} does, likewise. */
    public @Nullable RowCopies combineBackwardCopies() {
        return route.stages().isEmpty() ? new RowCopies(route.slotOfRow(), topK) : null;
    }

    /** Rows for the experts, [rows, C], from x [T, C]; in {@code scope}, which lives as long as the caller needs them. */
    public Tensor dispatch(Tensor x, TensorScope scope, TensorScope work) {
        if (format == null) {
            return route.toExperts(x, topK, work, scope);
        }
        // Packed once a token, before it is copied for its experts; backward takes the packing for the identity.
        Tensor packed = work.allocate(DType.INT32, x.dim(0), format.words(x.dim(1)));
        ops.packRows(x, format, packed);
        Tensor travelled = route.toExperts(packed, topK, work, work);
        Tensor out = scope.allocate(x.dtype(), rows.count(), x.dim(1));
        ops.unpackRows(travelled, format, out);
        return out;
    }

    /** out[t, :] = the sum of the expert outputs of token t's slots. */
    public void combine(Tensor y, Tensor out, TensorScope work) {
        ops.sumRows(route.fromExperts(y, work), route.rowOfSlot(), topK, out);
    }

    /** The gradient of the expert outputs, [rows, C], from the gradient of the combined output [T, C]. */
    public Tensor combineBackward(Tensor dout, TensorScope work) {
        return route.toExperts(dout, topK, work, work);
    }

    /** Starts the way back of the gradient of the experts' rows, [rows, C], beside the work that is queued next. */
    public Arrival startBack(Tensor drows, TensorScope work) {
        return route.startFromExperts(drows, work);
    }

    /**
     * Writes dx [T, C] and dweights [T, k].
     *
     * @param drows what {@link #startBack} returned
     * @param dprobability FP32 [rows]
     */
    public void dispatchBackward(Arrival drows, Tensor dprobability, Tensor dx, Tensor dweights, TensorScope work) {
        ops.sumRows(drows.await(), route.rowOfSlot(), topK, dx);
        Tensor dslots = route.fromExperts(dprobability.reshape(rows.count(), 1), work);
        int slots = Math.toIntExact(dweights.elements());
        ops.gatherRows(dslots, route.rowOfSlot(), 1, dweights.reshape(slots, 1));
    }
}
