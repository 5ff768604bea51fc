package io.fourfold.model;

import io.fourfold.config.RecomputeModule;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Feed-forward network of every token: fused gate and up projection, activation, down projection. Also the shared expert.
 * Keeps the activation's input and the wgrad operands.
 */
final class DenseFfn implements Sublayer {
    private record Saved(
            @Nullable OperandSource<GemmOperand> x,
            Tensor inner,
            @Nullable OperandSource<GemmOperand> activated) {}

    private final String name;
    private final Activation activation;
    private final int innerWidth;
    private final Linear up;
    private final Linear down;

    /**
     * @param innerWidth F, this rank's part
     * @param up [inputFactor * F, H]
     * @param down [H, F]
     */
    DenseFfn(String name, Activation activation, int innerWidth, Linear up, Linear down) {
        this.name = name;
        this.activation = activation;
        this.innerWidth = innerWidth;
        this.up = up;
        this.down = down;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public List<Parameter> weights() {
        return List.of(down.weight(), up.weight());
    }

    @Override
    public void prepare(WeightPreparation preparation) {
        up.prepare(preparation);
        down.prepare(preparation);
    }

    @Override
    public TensorScope inputScope(Pass pass, TensorScope work) {
        return pass.inputScope(up.inputScope(pass, work), work);
    }

    @Override
    public @Nullable Backward forward(Pass pass, Tensor x, Tensor y, TensorScope work) {
        TensorScope innerScope = pass.training() ? pass.kept() : work;
        Tensor inner =
                innerScope.allocate(pass.type(), pass.batch().contextTokens(), activation.inputFactor() * innerWidth);
        OperandSource<GemmOperand> xByColumns =
                up.forward(pass, x, inner, work, pass.recompute().input());
        InputAgain again =
                pass.recompute().has(RecomputeModule.ACTIVATION) ? scope -> activate(pass, inner, scope) : null;
        Tensor activated = activate(pass, inner, again == null ? down.inputScope(pass, work) : work);
        OperandSource<GemmOperand> activatedByColumns = down.forward(pass, activated, y, work, again);
        if (!pass.training()) {
            return null;
        }
        Saved saved = new Saved(xByColumns, inner, activatedByColumns);
        return (dy, dx, backwardWork) -> backward(pass, saved, dy, dx, backwardWork);
    }

    private Tensor activate(Pass pass, Tensor inner, TensorScope scope) {
        Tensor activated = scope.allocate(pass.type(), pass.batch().contextTokens(), innerWidth);
        pass.backend().moe().activation(activation, inner, null, activated);
        return activated;
    }

    private void backward(Pass pass, Saved saved, Tensor dy, Tensor dx, TensorScope work) {
        Tensor dactivated = work.allocate(pass.type(), pass.batch().contextTokens(), innerWidth);
        Runnable downRest = down.startBackward(pass, saved.activated(), dy, dactivated, false, work);
        Tensor dinner = work.allocate(pass.type(), saved.inner().shape());
        pass.backend().moe().activationBackward(activation, dactivated, saved.inner(), null, dinner, null);
        Runnable upRest = up.startBackward(pass, saved.x(), dinner, dx, false, work);
        downRest.run(); // beside the sum of dx over tensor parallel ranks
        upRest.run();
    }
}
