package io.fourfold.model;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.ContextExchange;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.DeviceBatch.ContextOrder;
import org.jspecify.annotations.Nullable;

/**
 * Causal attention of rotated queries, keys and values. Over context parallel ranks each rank computes the queries of its own
 * chunks. Keys and values of the whole sequences are gathered, and backward sums the parts of their gradient where they came
 * from; or they travel around the ranks ({@link RingAttention}).
 *
 * @param config of this rank's heads
 */
record CoreAttention(Backend backend, AttentionConfig config, SequenceParallel ranks, ContextExchange exchange) {
    /**
     * What backward reads.
     *
     * @param qkv [C, (heads + 2 * kvHeads) * headDim]
     * @param keyValues [B * S, 2 * kvHeads * headDim]; null without context parallelism or where
     *     they travel
     * @param out [C, heads * headDim]
     * @param logSumExp FP32 [B, heads, C / B]
     */
    record State(Tensor qkv, @Nullable Tensor keyValues, Tensor out, Tensor logSumExp) {}

    /** Memory for what {@link #forward(Pass, State, int, int)} writes. */
    State allocate(Pass pass, Tensor qkv) {
        DeviceBatch batch = pass.batch();
        Tensor out = pass.kept()
                .allocate(pass.type(), batch.contextTokens(), shape(batch).outputWidth());
        Tensor logSumExp = pass.kept()
                .allocate(
                        DType.FP32,
                        batch.samples(),
                        config.heads(),
                        batch.queries().tokens());
        return new State(qkv, null, out, logSumExp);
    }

    /** Of sequences {@code from .. to}; without context parallelism only. */
    void forward(Pass pass, State state, int from, int to) {
        if (from < to) {
            Part part = part(pass.batch(), from, to);
            backend.attention()
                    .forward(
                            part.shape,
                            part.rows(state.qkv),
                            part.documentStart,
                            part.rows(state.out),
                            part.statistics(state.logSumExp));
        }
    }

    /** Some whole sequences. */
    private record Part(AttentionShape shape, int from, Tensor documentStart) {
        Tensor rows(Tensor all) {
            int first = from * shape.sequence();
            return all.rows(first, first + shape.tokens());
        }

        Tensor statistics(Tensor all) {
            Shape some = Shape.of(shape.batch(), shape.heads(), shape.sequence());
            return all.view((long) from * shape.heads() * shape.sequence(), some);
        }
    }

    private Part part(DeviceBatch batch, int from, int to) {
        AttentionShape shape = shape(batch, to - from);
        Tensor starts = batch.documentStart().view((long) from * shape.sequence(), Shape.of(shape.tokens()));
        return new Part(shape, from, starts);
    }

    State forward(Pass pass, Tensor qkv, TensorScope work) {
        DeviceBatch batch = pass.batch();
        State state = allocate(pass, qkv);
        ContextOrder order = batch.contextOrder();
        if (order == null) {
            forward(pass, state, 0, batch.samples());
            return state;
        }
        AttentionShape shape = shape(batch);
        Tensor out = state.out();
        Tensor logSumExp = state.logSumExp();
        if (exchange == ContextExchange.RING) {
            ring().forward(pass, shape, qkv, out, logSumExp, work);
            return state;
        }
        Tensor keyValues = gather(pass, qkv, order, work);
        backend.attention().forward(shape, batch.queries(), qkv, keyValues, batch.documentStart(), out, logSumExp);
        return new State(qkv, keyValues, out, logSumExp);
    }

    /** Writes dqkv. */
    void backward(Pass pass, State state, Tensor dout, Tensor dqkv, TensorScope work) {
        DeviceBatch batch = pass.batch();
        ContextOrder order = batch.contextOrder();
        if (order != null && exchange == ContextExchange.RING) {
            ring().backward(pass, shape(batch), state, dout, dqkv, work);
            return;
        }
        if (state.keyValues() == null || order == null) {
            backend.attention()
                    .backward(
                            shape(batch),
                            dout,
                            state.qkv(),
                            batch.documentStart(),
                            state.out(),
                            state.logSumExp(),
                            dqkv);
            return;
        }
        Tensor dkeyValues = work.allocate(pass.type(), state.keyValues().shape());
        backend.attention()
                .backward(
                        shape(batch),
                        batch.queries(),
                        dout,
                        state.qkv(),
                        state.keyValues(),
                        batch.documentStart(),
                        state.out(),
                        state.logSumExp(),
                        dqkv,
                        dkeyValues);
        scatter(pass, dkeyValues, order, dqkv, work);
    }

    private RingAttention ring() {
        return new RingAttention(backend, config, ranks);
    }

    /** Keys and values of all tokens in the order of the sequences, from this rank's. */
    private Tensor gather(Pass pass, Tensor qkv, ContextOrder order, TensorScope work) {
        int rows = qkv.dim(0);
        int width = 2 * config.kvWidth();
        Tensor own = work.allocate(pass.type(), rows, width);
        backend.elementwise().copyColumns(qkv, config.queryWidth(), own, 0, width);
        Tensor gathered = work.allocate(pass.type(), rows * ranks.context().size(), width);
        ranks.context().allGather(own, gathered);
        TensorScope scope = pass.training() ? pass.kept() : work;
        Tensor keyValues = scope.allocate(pass.type(), gathered.shape());
        backend.moe().gatherRows(gathered, order.sequences(), 1, keyValues);
        return keyValues;
    }

    /** Sums every rank's part of the gradient into the columns of keys and values of dqkv. */
    private void scatter(Pass pass, Tensor dkeyValues, ContextOrder order, Tensor dqkv, TensorScope work) {
        Tensor ordered = work.allocate(pass.type(), dkeyValues.shape());
        backend.moe().gatherRows(dkeyValues, order.gathered(), 1, ordered);
        Tensor own = work.allocate(pass.type(), dqkv.dim(0), dkeyValues.dim(1));
        ranks.context().reduceScatter(ordered, own, ReduceOp.SUM);
        backend.elementwise().copyColumns(own, 0, dqkv, config.queryWidth(), own.dim(1));
    }

    private AttentionShape shape(DeviceBatch batch) {
        return shape(batch, batch.samples());
    }

    private AttentionShape shape(DeviceBatch batch, int sequences) {
        return new AttentionShape(
                sequences, batch.sequenceLength(), config.heads(), config.kvHeads(), config.headDim(), (float)
                        (1 / Math.sqrt(config.headDim())));
    }
}
