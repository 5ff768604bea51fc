package io.fourfold.model;

import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecomputeModule;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.moe.Dispatch;
import io.fourfold.moe.ExpertRows;
import io.fourfold.moe.Router;
import io.fourfold.moe.RouterReport;
import io.fourfold.moe.Routing;
import io.fourfold.moe.SplitArrival;
import io.fourfold.moe.SplitSum;
import io.fourfold.moe.TokenDispatcher;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Mixture of experts: route, dispatch, grouped FC1, activation times routing weight, grouped FC2, combine; plus the shared
 * expert. The weight is applied inside the activation, so FC2's output is not kept. Kept: the input (for the FP32 router's
 * wgrad), the routing, the rows after FC1 and the wgrad operands. What is inside the experts, in forward and in backward, is
 * released before backward multiplies the weight gradient of FC1.
 */
final class MoeFfn implements Sublayer {
    /** The layers with parameters of one MoE block. */
    record Layers(
            Linear router,
            GroupedLinear up,
            GroupedLinear down,
            @Nullable SharedExpert shared) {}

    private record Saved(
            @Nullable OperandSource<GemmOperand> routerX,
            Routing routing,
            Dispatch dispatch,
            @Nullable OperandSource<GroupedOperand> rowsByColumns,
            TensorScope inside,
            Tensor inner,
            @Nullable OperandSource<GroupedOperand> activatedByColumns,
            SharedExpert.@Nullable Backward shared) {}

    private final Backend backend;
    private final MoeConfig config;
    private final int layer;
    private final int moeIndex;
    private final int innerWidth;
    private final Layers layers;
    private final Router router;
    private final TokenDispatcher dispatcher;

    /**
     * @param layer 0-based block
     * @param moeIndex 0-based among the MoE blocks
     * @param innerWidth inner width of this rank's part of each expert
     */
    MoeFfn(
            Backend backend,
            MoeConfig config,
            int layer,
            int moeIndex,
            int innerWidth,
            Layers layers,
            Router router,
            TokenDispatcher dispatcher) {
        this.backend = backend;
        this.config = config;
        this.layer = layer;
        this.moeIndex = moeIndex;
        this.innerWidth = innerWidth;
        this.layers = layers;
        this.router = router;
        this.dispatcher = dispatcher;
    }

    @Override
    public String name() {
        return "moe";
    }

    /** Where tokens may travel, the shared expert's come first: its backward may be computed meanwhile. */
    @Override
    public List<Parameter> weights() {
        List<Parameter> weights = new ArrayList<>(List.of(
                layers.down().weight(), layers.up().weight(), layers.router().weight()));
        if (layers.shared() != null) {
            weights.addAll(
                    dispatcher.splits() ? 0 : weights.size(), layers.shared().weights());
        }
        return weights;
    }

    @Override
    public void prepare(WeightPreparation preparation) {
        layers.router().prepare(preparation);
        layers.up().prepare(preparation);
        layers.down().prepare(preparation);
        if (layers.shared() != null) {
            layers.shared().prepare(preparation);
        }
    }

    @Override
    public TensorScope inputScope(Pass pass, TensorScope work) {
        return pass.inputScope(pass.training() ? pass.kept() : work, work);
    }

    @Override
    public @Nullable Backward forward(Pass pass, Tensor x, Tensor y, TensorScope work) {
        TensorScope scope = pass.training() ? pass.kept() : work;
        Tensor logits = scope.allocate(DType.FP32, pass.tokens(), config.experts());
        OperandSource<GemmOperand> routerX =
                layers.router().forward(pass, x, logits, work, pass.recompute().input());
        pass.inspect("forward", layer, "layers." + layer + ".moe.router logits", logits);
        Routing routing = router.route(logits, pass.batch().routed(), pass.counts() ? report(pass) : null, scope);
        Dispatch dispatch = dispatcher.plan(routing, pass.batch().rowIds(), x, scope, work);
        ExpertRows rows = dispatch.rows();
        InputAgain rowsAgain = pass.recompute().has(RecomputeModule.DISPATCH)
                ? recomputed -> dispatch.dispatch(pass.input(x, recomputed), recomputed, recomputed)
                : null;
        boolean inParts = takesParts(pass, dispatch);
        OperandPair<GroupedOperand> copied =
                rowsAgain == null ? layers.up().copiedInput(pass, rows, dispatch.dispatchCopies(), x, work) : null;
        TensorScope rowScope = rowsAgain == null ? layers.up().inputScope(pass, work) : work;
        SplitArrival arrival = dispatch.splits() ? dispatch.startDispatch(x, rowScope, work) : null;
        // The shared expert works while tokens are on their way; where none are, later: its output need not be kept as
        // long.
        SharedExpert.Output shared = arrival == null || layers.shared() == null
                ? null
                : layers.shared().forward(pass, x, work);
        if (arrival != null && !inParts) {
            arrival.others().run();
        }
        Tensor expertX = null;
        if (copied == null) {
            expertX = arrival == null ? dispatch.dispatch(x, rowScope, work) : arrival.rows();
        }
        TensorScope inside =
                pass.training() ? pass.memory().keptUntil(layers.up().weight()) : work;
        Tensor inner = inside.allocate(
                pass.type(), rows.count(), innerWidth * config.activation().inputFactor());
        OperandSource<GroupedOperand> rowsByColumns = copied != null
                ? layers.up().forward(copied, inner)
                : layers.up()
                        .forward(
                                pass,
                                rows,
                                Objects.requireNonNull(expertX),
                                inner,
                                work,
                                rowsAgain,
                                inParts ? ownFirst(dispatch, arrival) : RowSchedule.WHOLE);
        Pass within = pass.withKept(inside);
        InputAgain again = pass.recompute().has(RecomputeModule.ACTIVATION)
                ? recomputed -> activate(pass, rows, inner, recomputed)
                : null;
        OperandPair<GroupedOperand> fused =
                again == null ? layers.down().activatedInput(within, rows, config.activation(), inner, work) : null;
        Tensor activated = fused != null
                ? null
                : activate(pass, rows, inner, again == null ? layers.down().inputScope(within, work) : work);
        Tensor expertY = work.allocate(pass.type(), rows.count(), y.dim(1));
        SplitSum[] back = new SplitSum[1]; // other ranks' rows travel back while this rank's own are computed
        RowSchedule othersFirst = product -> {
            dispatch.others().forEach(product::multiply);
            back[0] = dispatch.startCombine(expertY, work);
            product.multiply(dispatch.own());
        };
        OperandSource<GroupedOperand> activatedByColumns = fused != null
                ? layers.down().forward(fused, expertY)
                : layers.down()
                        .forward(
                                within,
                                rows,
                                Objects.requireNonNull(activated),
                                expertY,
                                work,
                                again,
                                inParts ? othersFirst : RowSchedule.WHOLE);
        if (back[0] == null && dispatch.splits()) {
            back[0] = dispatch.startCombine(expertY, work);
        }
        if (back[0] == null) {
            dispatch.combine(expertY, y, work);
        } else {
            back[0].finish(y);
        }
        if (shared == null && layers.shared() != null) {
            shared = layers.shared().forward(pass, x, work);
        }
        SharedExpert.Backward sharedBackward = shared == null ? null : shared.addTo(y);
        if (!pass.training()) {
            return null;
        }
        Saved saved =
                new Saved(routerX, routing, dispatch, rowsByColumns, inside, inner, activatedByColumns, sharedBackward);
        return (dy, dx, backwardWork) -> backward(pass, saved, dy, dx, backwardWork);
    }

    private boolean takesParts(Pass pass, Dispatch dispatch) {
        return dispatch.splits()
                && layers.up().takesParts(pass.type())
                && layers.down().takesParts(pass.type());
    }

    /** This rank's rows, then, when they have come, the others'. */
    private static RowSchedule ownFirst(Dispatch dispatch, @Nullable SplitArrival arrival) {
        SplitArrival coming = Objects.requireNonNull(arrival);
        return product -> {
            product.multiply(dispatch.own());
            coming.others().run();
            dispatch.others().forEach(product::multiply);
        };
    }

    private Tensor activate(Pass pass, ExpertRows rows, Tensor inner, TensorScope scope) {
        Tensor activated = scope.allocate(pass.type(), rows.count(), innerWidth);
        backend.moe().activation(config.activation(), inner, rows.probability(), activated);
        return activated;
    }

    private void backward(Pass pass, Saved saved, Tensor dy, Tensor dx, TensorScope work) {
        Dispatch dispatch = saved.dispatch();
        ExpertRows rows = dispatch.rows();
        SharedExpert.InputGradient shared = null;
        Tensor dprobability = work.allocate(DType.FP32, rows.count());
        OperandPair<GroupedOperand> fused;
        Tensor dinner = null;
        try (TensorScope kept = saved.inside();
                TensorScope inside = pass.memory().workUntil(layers.up().weight())) {
            Tensor dactivated = inside.allocate(pass.type(), rows.count(), innerWidth);
            SplitArrival arrival = dispatch.splits() ? dispatch.startDispatch(dy, inside, inside) : null;
            if (arrival != null && saved.shared() != null) {
                shared = saved.shared().run(dy, work); // while gradients are on their way
            }
            backwardDown(pass, saved, arrival, dy, dactivated, inside);
            fused = layers.up()
                    .activationGradient(pass, rows, config.activation(), dactivated, saved.inner(), dprobability, work);
            if (fused == null) {
                dinner = work.allocate(pass.type(), saved.inner().shape());
                backend.moe()
                        .activationBackward(
                                config.activation(),
                                dactivated,
                                saved.inner(),
                                rows.probability(),
                                dinner,
                                dprobability);
            }
        }
        Tensor dexpertX = work.allocate(pass.type(), rows.count(), dx.dim(1));
        Tensor dweights = work.allocate(DType.FP32, saved.routing().weights().shape());
        ExpertWayBack back = new ExpertWayBack(dispatch, dexpertX, dx, dprobability, dweights, work);
        // Rows travel back while this rank's own are computed; where they are not in parts, beside the weight
        // gradients.
        boolean inParts = takesParts(pass, dispatch);
        RowSchedule schedule = !inParts
                ? RowSchedule.WHOLE
                : product -> {
                    dispatch.others().forEach(product::multiply);
                    back.start();
                    product.multiply(dispatch.own());
                };
        Runnable written = inParts ? back::finish : back::start;
        if (fused != null) {
            layers.up().backward(pass, fused, saved.rowsByColumns(), dexpertX, work, written);
        } else {
            layers.up()
                    .backward(
                            pass,
                            rows,
                            saved.rowsByColumns(),
                            Objects.requireNonNull(dinner),
                            dexpertX,
                            work,
                            written,
                            schedule);
        }
        if (!inParts) {
            back.finish();
        }
        Tensor dlogits = work.allocate(DType.FP32, saved.routing().logits().shape());
        router.backward(
                saved.routing(),
                dweights,
                pass.batch().routed(),
                pass.share(),
                Objects.requireNonNull(report(pass)),
                dlogits,
                work);
        layers.router().backward(pass, saved.routerX(), dlogits, dx, true, work);
        if (shared == null && saved.shared() != null) {
            shared = saved.shared().run(dy, work);
        }
        if (shared != null) {
            shared.addTo(dx);
        }
    }

    /**
     * Writes dactivated [rows, W] from the gradient of the combined output.
     *
     * @param arrival of dy at the experts, where it comes in parts
     */
    private void backwardDown(
            Pass pass, Saved saved, @Nullable SplitArrival arrival, Tensor dy, Tensor dactivated, TensorScope work) {
        Dispatch dispatch = saved.dispatch();
        ExpertRows rows = dispatch.rows();
        OperandPair<GroupedOperand> copied =
                layers.down().copiedGradient(pass, rows, dispatch.combineBackwardCopies(), dy, work);
        if (copied != null) {
            layers.down().backward(pass, copied, saved.activatedByColumns(), dactivated, work, () -> {});
            return;
        }
        boolean inParts = takesParts(pass, dispatch);
        if (arrival != null && !inParts) {
            arrival.others().run();
        }
        Tensor dexpertY = arrival == null ? dispatch.combineBackward(dy, work) : arrival.rows();
        layers.down()
                .backward(
                        pass,
                        rows,
                        saved.activatedByColumns(),
                        dexpertY,
                        dactivated,
                        work,
                        () -> {},
                        inParts ? ownFirst(dispatch, arrival) : RowSchedule.WHOLE);
    }

    private @Nullable RouterReport report(Pass pass) {
        return pass.report() == null ? null : pass.report().layer(moeIndex);
    }
}
