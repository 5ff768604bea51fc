package io.fourfold.moe;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The planned way of one micro-batch's rows to the experts and back. Forward is {@link #dispatch} and {@link #combine};
 * backward is {@link #combineBackward} and {@link #dispatchBackward}. Only index maps and counts are kept, no rows.
 */
public final class Dispatch {
    private final MoeOps ops;
    private final RowRoute route;
    private final WeightRoute weights;
    private final ExpertRows rows;
    private final @Nullable RowFormat format;
    private final @Nullable SplitRoute split;

    /**
     * @param format how rows travel in the forward pass; null = as they are
     * @param split the same way in two parts; null when it has none
     */
    Dispatch(
            MoeOps ops,
            RowRoute route,
            WeightRoute weights,
            ExpertRows rows,
            @Nullable RowFormat format,
            @Nullable SplitRoute split) {
        this.split = split;
        this.ops = ops;
        this.route = route;
        this.weights = weights;
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
        return route.stages().isEmpty()
                ? new RowCopies(
                        route.permutation().slotOfRow(), route.permutation().k())
                : null;
    }

    /** Whether rows can come and go in two parts, see {@link #startDispatch}. */
    public boolean splits() {
        return split != null;
    }

    /** Rows that stay on this rank. Only where rows split, as all that follows. */
    public RowPart own() {
        return split().own();
    }

    /** The other rows. */
    public List<RowPart> others() {
        return split().others();
    }

    /** {@link #dispatch}, or {@link #combineBackward}, of which the rows of {@link #own} are there at once. */
    public SplitArrival startDispatch(Tensor x, TensorScope scope, TensorScope work) {
        return split().start(x, scope, work);
    }

    /** {@link #combine} that begins when the rows of {@link #others} are computed and ends when all are. */
    public SplitSum startCombine(Tensor y, TensorScope work) {
        return split().startBack(y, work);
    }

    private SplitRoute split() {
        if (split == null) {
            throw new IllegalStateException("these rows do not travel in parts");
        }
        return split;
    }

    /** Rows for the experts, [rows, C], from x [T, C]; in {@code scope}, which lives as long as the caller needs them. */
    public Tensor dispatch(Tensor x, TensorScope scope, TensorScope work) {
        if (format == null) {
            return route.toExperts(x, work, scope);
        }
        // Packed once a token, before it is copied for its experts; backward takes the packing for the identity.
        Tensor packed = work.allocate(DType.INT32, x.dim(0), format.words(x.dim(1)));
        ops.packRows(x, format, packed);
        Tensor travelled = route.toExperts(packed, work, work);
        Tensor out = scope.allocate(x.dtype(), rows.count(), x.dim(1));
        ops.unpackRows(travelled, format, out);
        return out;
    }

    /** out[t, :] = the sum of the expert outputs of token t's slots. */
    public void combine(Tensor y, Tensor out, TensorScope work) {
        route.permutation().sum(route.fromExperts(y, work), out);
    }

    /** The gradient of the expert outputs, [rows, C], from the gradient of the combined output [T, C]. */
    public Tensor combineBackward(Tensor dout, TensorScope work) {
        return route.toExperts(dout, work, work);
    }

    /**
     * Starts the way back of the gradient of the experts' rows, [rows, C], beside the work that is queued next.
     *
     * @return what ends it
     */
    public SplitSum startBack(Tensor drows, TensorScope work) {
        if (split != null) {
            return split.startBack(drows, work);
        }
        Arrival arrival = route.startFromExperts(drows, work);
        return dx -> route.permutation().sum(arrival.await(), dx);
    }

    /**
     * Starts the way back of the gradient of the routing weights beside the work that is queued next.
     *
     * @param dprobability FP32 [rows]
     * @param dweights FP32 [T, k], written when the returned is run, after what {@link #startBack} returned
     */
    public Runnable startWeightsBack(Tensor dprobability, Tensor dweights, TensorScope work) {
        return weights.startBack(dprobability.reshape(rows.count(), 1), dweights, work);
    }
}
