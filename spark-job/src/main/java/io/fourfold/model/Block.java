package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One pre-norm decoder block: h = x + attention(norm(x)), out = h + ffn(norm(h)). Keeps x and h, the reciprocal norms and
 * what the sublayers keep; the normalized inputs only where a sublayer asks for it.
 */
final class Block {
    /** A norm and what follows it. */
    record Branch(RmsNorm norm, Sublayer sublayer) {}

    private record BranchState(Tensor x, Tensor rstd, Sublayer.Backward backward) {}

    /**
     * A block's output and the state for its backward.
     *
     * @param output [T, H]
     * @param backward null in evaluation
     */
    record Result(Tensor output, @Nullable Backward backward) {}

    /** Turns the gradient of the block's output, in place, into that of its input. */
    interface Backward {
        void run(Tensor dstream);
    }

    private final int index;
    private final Branch attention;
    private final Branch feedForward;

    Block(int index, Branch attention, Branch feedForward) {
        this.index = index;
        this.attention = attention;
        this.feedForward = feedForward;
    }

    void prepare(WeightPreparation preparation) {
        attention.sublayer().prepare(preparation);
        feedForward.sublayer().prepare(preparation);
    }

    /**
     * @param x [T, H] in a scope that lives as long as {@code pass.kept()}
     */
    Result forward(Pass pass, Tensor x) {
        Tensor middle = pass.kept().allocate(pass.type(), x.shape());
        BranchState first = forward(pass, attention, x, middle);
        Tensor out = pass.kept().allocate(pass.type(), x.shape());
        BranchState second = forward(pass, feedForward, middle, out);
        if (!pass.training()) {
            return new Result(out, null);
        }
        return new Result(out, dstream -> {
            backward(pass, feedForward, Objects.requireNonNull(second), dstream);
            backward(pass, attention, Objects.requireNonNull(first), dstream);
        });
    }

    /** out = x + sublayer(norm(x)). */
    private @Nullable BranchState forward(Pass pass, Branch branch, Tensor x, Tensor out) {
        Sublayer sublayer = branch.sublayer();
        try (TensorScope work = pass.work()) {
            Tensor normalized = sublayer.inputScope(pass, work).allocate(pass.type(), x.shape());
            Tensor rstd = branch.norm().forward(pass, x, normalized, pass.training() ? pass.kept() : work);
            Tensor y = work.allocate(pass.type(), x.shape());
            Sublayer.Backward backward = sublayer.forward(pass, normalized, y, work);
            pass.inspect("forward", index, label(branch) + " output", y);
            pass.backend().elementwise().add(x, y, out);
            return backward == null ? null : new BranchState(x, rstd, backward);
        }
    }

    /** dstream += norm'(sublayer'(dstream)). */
    private void backward(Pass pass, Branch branch, BranchState state, Tensor dstream) {
        try (TensorScope work = pass.work()) {
            Tensor dnormalized = work.allocate(pass.type(), dstream.shape());
            state.backward().run(dstream, dnormalized, work);
            pass.inspect("backward", index, label(branch) + " input gradient", dnormalized);
            branch.norm().backward(pass, dnormalized, state.x(), state.rstd(), dstream, true);
        }
    }

    private String label(Branch branch) {
        return ParameterNames.layer(index) + branch.sublayer().name();
    }
}
