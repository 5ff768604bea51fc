package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.moe.Dispatch;
import io.fourfold.moe.SplitSum;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** The way back of the gradients of the experts' rows and of the routing weights. */
final class ExpertWayBack {
    private final Dispatch dispatch;
    private final Tensor drows;
    private final Tensor dx;
    private final Tensor dprobability;
    private final Tensor dweights;
    private final TensorScope work;
    private @Nullable SplitSum rows;
    private @Nullable Runnable weights;

    ExpertWayBack(Dispatch dispatch, Tensor drows, Tensor dx, Tensor dprobability, Tensor dweights, TensorScope work) {
        this.dispatch = dispatch;
        this.drows = drows;
        this.dx = dx;
        this.dprobability = dprobability;
        this.dweights = dweights;
        this.work = work;
    }

    /** Starts it, beside the work that is queued next. */
    void start() {
        rows = dispatch.startBack(drows, work);
        weights = dispatch.startWeightsBack(dprobability, dweights, work);
    }

    /** Writes dx and dweights. */
    void finish() {
        Objects.requireNonNull(rows).finish(dx);
        Objects.requireNonNull(weights).run();
    }
}
