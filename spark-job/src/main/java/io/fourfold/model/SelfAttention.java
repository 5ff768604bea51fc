package io.fourfold.model;

import io.fourfold.config.AttentionConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Grouped-query attention: fused QKV projection, optional RMSNorm on query and key heads, rotation, causal attention
 * within a document, output projection. Keeps the rotated QKV rows, the attention output, its log-sum-exp and the wgrad
 * operands; with QK-norm also the rows before it.
 */
final class SelfAttention implements Sublayer {
    /** RMSNorm weights of query and key heads, [headDim]. */
    record HeadNorm(Parameter query, Parameter key, float epsilon) {}

    private record HeadNormState(Tensor qkv, Tensor rstd) {}

    private record Saved(
            @Nullable OperandSource<GemmOperand> x,
            @Nullable HeadNormState beforeNorm,
            CoreAttention.State core,
            @Nullable OperandSource<GemmOperand> outByColumns) {}

    private final Backend backend;
    private final AttentionConfig config;
    private final Linear qkvLinear;
    private final Linear outputLinear;
    private final @Nullable HeadNorm headNorm;
    private final CoreAttention core;

    /**
     * @param core of this rank's heads
     */
    SelfAttention(CoreAttention core, Linear qkv, Linear output, @Nullable HeadNorm headNorm) {
        this.backend = core.backend();
        this.config = core.config();
        this.core = core;
        this.qkvLinear = qkv;
        this.outputLinear = output;
        this.headNorm = headNorm;
    }

    @Override
    public String name() {
        return "attention";
    }

    @Override
    public List<Parameter> weights() {
        return List.of(outputLinear.weight(), qkvLinear.weight());
    }

    @Override
    public void prepare(WeightPreparation preparation) {
        qkvLinear.prepare(preparation);
        outputLinear.prepare(preparation);
    }

    @Override
    public TensorScope inputScope(Pass pass, TensorScope work) {
        return pass.inputScope(qkvLinear.inputScope(pass, work), work);
    }

    @Override
    public @Nullable Backward forward(Pass pass, Tensor x, Tensor y, TensorScope work) {
        int rows = pass.batch().contextTokens();
        Tensor projected = pass.kept().allocate(pass.type(), rows, config.queryWidth() + 2 * config.kvWidth());
        HeadNormState beforeNorm = headNorm == null
                ? null
                : new HeadNormState(
                        projected, pass.kept().allocate(DType.FP32, rows, config.heads() + config.kvHeads()));
        Tensor qkv = beforeNorm == null ? projected : pass.kept().allocate(pass.type(), projected.shape());
        InputAgain again = pass.recompute().input();
        OwnSequences own = ownSequences(pass);
        CoreAttention.State state;
        OperandSource<GemmOperand> xByColumns;
        OperandSource<GemmOperand> outByColumns;
        if (own == null) {
            xByColumns = qkvLinear.forward(pass, x, projected, work, again);
            rotate(pass, beforeNorm, qkv, 0, rows);
            state = core.forward(pass, qkv, work);
            outByColumns = outputLinear.forward(pass, state.out(), y, work);
        } else {
            state = core.allocate(pass, qkv);
            xByColumns = qkvLinear.forward(pass, x, projected, work, again, () -> {
                rotate(pass, beforeNorm, qkv, own.firstRow(), own.endRow());
                core.forward(pass, state, own.begin(), own.middle());
            });
            own.forOthers((from, to) -> {
                rotate(pass, beforeNorm, qkv, from * own.length(), to * own.length());
                core.forward(pass, state, from, to);
            });
            outByColumns = outputLinear.forward(
                    pass, state.out(), y, work, null, () -> core.forward(pass, state, own.middle(), own.end()));
        }
        if (!pass.training()) {
            return null;
        }
        Saved saved = new Saved(xByColumns, beforeNorm, state, outByColumns);
        return (dy, dx, backwardWork) -> backward(pass, saved, dy, dx, backwardWork);
    }

    /** What can be computed while other rows travel: attention of the sequences that this rank has as a whole. */
    private @Nullable OwnSequences ownSequences(Pass pass) {
        return qkvLinear.takesParts(pass.type()) && outputLinear.takesParts(pass.type())
                ? OwnSequences.of(pass.batch(), core.ranks().tensor())
                : null;
    }

    private void backward(Pass pass, Saved saved, Tensor dy, Tensor dx, TensorScope work) {
        CoreAttention.State state = saved.core();
        Tensor dout = work.allocate(pass.type(), state.out().shape());
        Runnable outputRest = outputLinear.startBackward(pass, saved.outByColumns(), dy, dout, false, work);
        Tensor dqkv = work.allocate(pass.type(), state.qkv().shape());
        core.backward(pass, state, dout, dqkv, work);
        HeadNormState beforeNorm = saved.beforeNorm();
        if (headNorm == null || beforeNorm == null) {
            rotate(pass, dqkv, 0, true);
        } else {
            normAndRotateBackward(pass, headNorm, beforeNorm, dqkv);
        }
        Runnable qkvRest = qkvLinear.startBackward(pass, saved.x(), dqkv, dx, false, work);
        outputRest.run(); // beside the sum of dx over tensor parallel ranks
        qkvRest.run();
    }

    /** Writes rows {@code from .. to} of qkv. */
    private void rotate(Pass pass, @Nullable HeadNormState before, Tensor qkv, int from, int to) {
        Tensor rotated = qkv.rows(from, to);
        if (headNorm == null || before == null) {
            rotate(pass, rotated, from, false);
            return;
        }
        Tensor projected = before.qkv().rows(from, to);
        Tensor rstd = before.rstd().rows(from, to);
        Tensor query = headNorm.query().weight();
        Tensor key = headNorm.key().weight();
        float epsilon = headNorm.epsilon();
        int heads = config.heads();
        int kvHeads = config.kvHeads();
        NormOps.Rotation rotation = rotation(pass, from, to);
        if (!backend.norm().headNormRope(projected, heads, kvHeads, query, key, epsilon, rotation, rotated, rstd)) {
            backend.norm().headNorm(projected, heads, kvHeads, query, key, epsilon, rotated, rstd);
            rotate(pass, rotated, from, false);
        }
    }

    /** In place. */
    private void normAndRotateBackward(Pass pass, HeadNorm norms, HeadNormState before, Tensor dqkv) {
        Parameter query = norms.query();
        Parameter key = norms.key();
        int heads = config.heads();
        int kvHeads = config.kvHeads();
        if (!backend.norm()
                .headNormRopeBackward(
                        dqkv,
                        before.qkv(),
                        heads,
                        kvHeads,
                        query.weight(),
                        key.weight(),
                        before.rstd(),
                        rotation(pass, 0, dqkv.dim(0)),
                        dqkv,
                        query.grad(),
                        key.grad())) {
            rotate(pass, dqkv, 0, true);
            backend.norm()
                    .headNormBackward(
                            dqkv,
                            before.qkv(),
                            heads,
                            kvHeads,
                            query.weight(),
                            key.weight(),
                            before.rstd(),
                            dqkv,
                            query.grad(),
                            key.grad());
        }
    }

    private NormOps.Rotation rotation(Pass pass, int from, int to) {
        return new NormOps.Rotation(positions(pass, from, to), config.ropeTheta());
    }

    private static Tensor positions(Pass pass, int from, int to) {
        return pass.batch().positions().view(from, Shape.of(to - from));
    }

    /**
     * @param first row of these
     */
    private void rotate(Pass pass, Tensor qkv, int first, boolean inverse) {
        backend.elementwise()
                .rope(
                        qkv,
                        config.heads(),
                        config.kvHeads(),
                        config.headDim(),
                        positions(pass, first, first + qkv.dim(0)),
                        config.ropeTheta(),
                        inverse);
    }
}
