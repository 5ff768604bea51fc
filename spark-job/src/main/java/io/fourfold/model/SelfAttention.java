package io.fourfold.model;

import io.fourfold.config.AttentionConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.tensor.DType;
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
        Tensor qkv = pass.kept().allocate(pass.type(), rows, config.queryWidth() + 2 * config.kvWidth());
        OperandSource<GemmOperand> xByColumns =
                qkvLinear.forward(pass, x, qkv, work, pass.recompute().input());
        HeadNormState beforeNorm = null;
        if (headNorm == null) {
            rotate(pass, qkv, false);
        } else {
            beforeNorm =
                    new HeadNormState(qkv, pass.kept().allocate(DType.FP32, rows, config.heads() + config.kvHeads()));
            qkv = pass.kept().allocate(pass.type(), qkv.shape());
            normAndRotate(pass, headNorm, beforeNorm, qkv);
        }
        CoreAttention.State state = core.forward(pass, qkv, work);
        OperandSource<GemmOperand> outByColumns = outputLinear.forward(pass, state.out(), y, work);
        if (!pass.training()) {
            return null;
        }
        Saved saved = new Saved(xByColumns, beforeNorm, state, outByColumns);
        return (dy, dx, backwardWork) -> backward(pass, saved, dy, dx, backwardWork);
    }

    private void backward(Pass pass, Saved saved, Tensor dy, Tensor dx, TensorScope work) {
        Tensor dout = work.allocate(pass.type(), saved.core().out().shape());
        Runnable outputRest = outputLinear.startBackward(pass, saved.outByColumns(), dy, dout, false, work);
        Tensor dqkv = work.allocate(pass.type(), saved.core().qkv().shape());
        core.backward(pass, saved.core(), dout, dqkv, work);
        HeadNormState beforeNorm = saved.beforeNorm();
        if (headNorm == null || beforeNorm == null) {
            rotate(pass, dqkv, true);
        } else {
            normAndRotateBackward(pass, headNorm, beforeNorm, dqkv);
        }
        Runnable qkvRest = qkvLinear.startBackward(pass, saved.x(), dqkv, dx, false, work);
        outputRest.run(); // beside the sum of dx over tensor parallel ranks
        qkvRest.run();
    }

    /** Writes qkv. */
    private void normAndRotate(Pass pass, HeadNorm norms, HeadNormState before, Tensor qkv) {
        Tensor query = norms.query().weight();
        Tensor key = norms.key().weight();
        int heads = config.heads();
        int kvHeads = config.kvHeads();
        if (!backend.norm()
                .headNormRope(
                        before.qkv(),
                        heads,
                        kvHeads,
                        query,
                        key,
                        norms.epsilon(),
                        rotation(pass),
                        qkv,
                        before.rstd())) {
            backend.norm().headNorm(before.qkv(), heads, kvHeads, query, key, norms.epsilon(), qkv, before.rstd());
            rotate(pass, qkv, false);
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
                        rotation(pass),
                        dqkv,
                        query.grad(),
                        key.grad())) {
            rotate(pass, dqkv, true);
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

    private NormOps.Rotation rotation(Pass pass) {
        return new NormOps.Rotation(pass.batch().positions(), config.ropeTheta());
    }

    private void rotate(Pass pass, Tensor qkv, boolean inverse) {
        backend.elementwise()
                .rope(
                        qkv,
                        config.heads(),
                        config.kvHeads(),
                        config.headDim(),
                        pass.batch().positions(),
                        config.ropeTheta(),
                        inverse);
    }
}
