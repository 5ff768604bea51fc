package io.fourfold.model;

import io.fourfold.config.RecomputeModule;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One pre-norm decoder block: h = x + attention(norm(x)), out = h + ffn(norm(h)). Keeps x and h, the reciprocal norms and
 * what the sublayers keep; the normalized inputs only where a sublayer asks for it. What {@link Recomputation} names is not
 * kept but computed again in backward.
 */
final class Block {
    /**
     * A norm and what follows it.
     *
     * @param again the module that computes all of it again
     */
    record Branch(RmsNorm norm, Sublayer sublayer, RecomputeModule again) {}

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

    /** 0-based in the model. */
    int index() {
        return index;
    }

    void prepare(WeightPreparation preparation) {
        attention.sublayer().prepare(preparation);
        feedForward.sublayer().prepare(preparation);
    }

    /** As {@link Sublayer#weights()}, of the part whose backward comes first. */
    List<Parameter> feedForwardWeights() {
        return feedForward.sublayer().weights();
    }

    /** As {@link Sublayer#weights()}, of the part whose backward comes second. */
    List<Parameter> attentionWeights() {
        return attention.sublayer().weights();
    }

    /** Writes out; keeps nothing beyond {@code pass.kept()}. */
    void evaluate(Pass pass, Tensor x, Tensor out) {
        Tensor middle = pass.kept().allocate(pass.type(), x.shape());
        Backward none = compute(pass, attention, x, middle);
        none = compute(pass, feedForward, middle, out);
    }

    /**
     * Writes out [T, H].
     *
     * @param pass of training
     * @param x [T, H], which lives until the gradients of {@link #attentionWeights} are written
     */
    Backward forward(Pass pass, Tensor x, Tensor out) {
        if (!pass.recompute().has(RecomputeModule.BLOCK)) {
            return branches(pass, x, out);
        }
        try (TensorScope temporary = pass.memory().keptInForward()) {
            evaluate(pass.forgetting(temporary), x, out);
        }
        return dstream -> {
            pass.memory().workThrough(feedForwardWeights());
            branches(pass.replaying(), x, null).run(dstream);
        };
    }

    /**
     * Both branches.
     *
     * @param out null = not needed
     */
    private Backward branches(Pass pass, Tensor x, @Nullable Tensor out) {
        TensorScope between = pass.memory().keptThrough(feedForwardWeights());
        Tensor middle = between.allocate(pass.type(), x.shape());
        Backward first = branch(pass, attention, x, middle);
        Backward second = branch(pass, feedForward, middle, out);
        return dstream -> {
            second.run(dstream);
            between.close();
            first.run(dstream);
        };
    }

    private Backward branch(Pass pass, Branch branch, Tensor x, @Nullable Tensor out) {
        if (!pass.recompute().has(branch.again())) {
            return keep(pass, branch, x, out);
        }
        try (TensorScope temporary = pass.memory().keptInForward()) {
            Backward unused = compute(pass.forgetting(temporary), branch, x, out);
        }
        return dstream -> {
            pass.memory().workThrough(branch.sublayer().weights());
            keep(pass.replaying(), branch, x, null).run(dstream);
        };
    }

    /** The branch with what it keeps, which its backward releases. */
    private Backward keep(Pass pass, Branch branch, Tensor x, @Nullable Tensor out) {
        List<Parameter> weights = branch.sublayer().weights();
        TensorScope kept = pass.memory().keptThrough(weights);
        Backward backward = Objects.requireNonNull(compute(pass.withKept(kept), branch, x, out));
        return dstream -> {
            pass.memory().workThrough(weights);
            backward.run(dstream);
            kept.close();
        };
    }

    /** out = x + sublayer(norm(x)); null in evaluation. */
    private @Nullable Backward compute(Pass pass, Branch branch, Tensor x, @Nullable Tensor out) {
        boolean normAgain = pass.training() && pass.recompute().has(RecomputeModule.NORM);
        Pass own = normAgain ? pass.withInput(new NormAgain(pass, branch.norm(), x)) : pass;
        Sublayer sublayer = branch.sublayer();
        try (TensorScope work = pass.work()) {
            Tensor normalized = sublayer.inputScope(own, work).allocate(pass.type(), x.shape());
            Tensor rstd = branch.norm().forward(pass, x, normalized, pass.training() ? pass.kept() : work);
            Tensor y = work.allocate(pass.type(), x.shape());
            Sublayer.Backward backward = sublayer.forward(own, normalized, y, work);
            pass.inspect("forward", index, label(branch) + " output", y);
            if (out != null) {
                pass.backend().elementwise().add(x, y, out);
            }
            return backward == null ? null : dstream -> backward(pass, branch, x, rstd, backward, dstream);
        }
    }

    /** dstream += norm'(sublayer'(dstream)). */
    private void backward(Pass pass, Branch branch, Tensor x, Tensor rstd, Sublayer.Backward sublayer, Tensor dstream) {
        try (TensorScope work = pass.work()) {
            Tensor dnormalized = work.allocate(pass.type(), dstream.shape());
            sublayer.run(dstream, dnormalized, work);
            pass.inspect("backward", index, label(branch) + " input gradient", dnormalized);
            branch.norm().backward(pass, dnormalized, x, rstd, dstream, true);
        }
    }

    /** The normalized input once more: computed on first use in a backward, whose scope all later uses share. */
    private static final class NormAgain implements InputAgain {
        private final Pass pass;
        private final RmsNorm norm;
        private final Tensor x;
        private @Nullable Tensor normalized;

        NormAgain(Pass pass, RmsNorm norm, Tensor x) {
            this.pass = pass;
            this.norm = norm;
            this.x = x;
        }

        @Override
        public Tensor compute(TensorScope scope) {
            Tensor result = normalized;
            if (result == null) {
                result = scope.allocate(pass.type(), x.shape());
                Tensor unused = norm.forward(pass, x, result, scope);
                normalized = result;
            }
            return result;
        }
    }

    private String label(Branch branch) {
        return ParameterNames.layer(index) + branch.sublayer().name();
    }
}
