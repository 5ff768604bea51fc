package io.fourfold.model;

import io.fourfold.config.AttentionConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.parallel.TokenPlacement;

/**
 * Attention over two or more context parallel ranks whose keys and values travel around the ring of ranks (arXiv:2310.01889): at step s
 * of CP rank r has those of rank r - s, merges what its queries find there and has passed them on to r + 1. Outputs merge
 * by their log-sum-exp in FP32, see {@link io.fourfold.kernels.op.AttentionOps#forwardPart}.
 *
 * <p>Backward sends keys and values around once more, and one step behind them their gradient in FP32: it begins at the
 * owner's successor, every rank adds its part, and after CP - 1 hops it is back at the owner, who adds its own. So the order
 * of the sum is fixed. Sends are buffered, so all ranks may send before they receive; a send may reuse its memory at once.
 *
 * @param config of this rank's heads
 */
record RingAttention(Backend backend, AttentionConfig config, SequenceParallel ranks) {
    /** Writes out and the log-sum-exp over the whole sequences. */
    void forward(Pass pass, AttentionShape shape, Tensor qkv, Tensor out, Tensor logSumExp, TensorScope work) {
        DeviceBatch batch = pass.batch();
        Tensor merged = out.dtype() == DType.FP32 ? out : work.allocate(DType.FP32, out.shape());
        backend.elementwise().fill(merged, 0);
        backend.elementwise().fill(logSumExp, Float.NEGATIVE_INFINITY);
        Tensor keyValues = own(pass, qkv, work);
        int last = ranks.context().size() - 1;
        for (int step = 0; step <= last; step++) {
            if (step < last) {
                ranks.context().send(keyValues, next());
            }
            backend.attention()
                    .forwardPart(
                            shape,
                            batch.queries(),
                            chunks(batch, step),
                            qkv,
                            keyValues,
                            batch.documentStart(),
                            merged,
                            logSumExp);
            if (step < last) {
                ranks.context().receive(keyValues, previous());
            }
        }
        if (merged != out) {
            backend.elementwise().copy(merged, out);
        }
    }

    /** Writes dqkv. */
    void backward(
            Pass pass, AttentionShape shape, CoreAttention.State state, Tensor dout, Tensor dqkv, TensorScope work) {
        Communicator context = ranks.context();
        Tensor keyValues = own(pass, state.qkv(), work);
        Tensor dqueries = zeros(work, dqkv);
        Tensor dkeyValues = zeros(work, keyValues);
        Tensor travelling = zeros(work, keyValues);
        int last = context.size() - 1;
        for (int step = 0; step <= last; step++) {
            if (step < last) {
                context.send(keyValues, next());
            }
            if (step > 1) {
                context.receive(travelling, previous());
            }
            Tensor gradient = step == 0 ? dkeyValues : travelling;
            addPart(pass, shape, step, state, dout, keyValues, dqueries, gradient);
            if (step > 0) {
                context.send(travelling, next());
            }
            if (step < last) {
                context.receive(keyValues, previous());
            }
        }
        context.receive(travelling, previous());
        backend.elementwise().add(travelling, dkeyValues, dkeyValues);
        backend.elementwise().copy(dqueries, dqkv);
        // Every part has been computed: the keys' and values' memory takes their gradient in its type.
        backend.elementwise().copy(dkeyValues, keyValues);
        backend.elementwise().copyColumns(keyValues, 0, dqkv, config.queryWidth(), keyValues.dim(1));
    }

    private void addPart(
            Pass pass,
            AttentionShape shape,
            int step,
            CoreAttention.State state,
            Tensor dout,
            Tensor keyValues,
            Tensor dqueries,
            Tensor dkeyValues) {
        DeviceBatch batch = pass.batch();
        backend.attention()
                .backwardPart(
                        shape,
                        batch.queries(),
                        chunks(batch, step),
                        dout,
                        state.qkv(),
                        keyValues,
                        batch.documentStart(),
                        state.out(),
                        state.logSumExp(),
                        dqueries,
                        dkeyValues);
    }

    /** Keys and values of this rank's tokens, [C, 2 * kvHeads * headDim]. */
    private Tensor own(Pass pass, Tensor qkv, TensorScope work) {
        int width = 2 * config.kvWidth();
        Tensor own = work.allocate(pass.type(), qkv.dim(0), width);
        backend.elementwise().copyColumns(qkv, config.queryWidth(), own, 0, width);
        return own;
    }

    private Tensor zeros(TensorScope work, Tensor like) {
        Tensor zeros = work.allocate(DType.FP32, like.shape());
        backend.elementwise().fill(zeros, 0);
        return zeros;
    }

    /** The tokens whose keys this rank has at a step. */
    private TokenChunks chunks(DeviceBatch batch, int step) {
        int size = ranks.context().size();
        int length = batch.sequenceLength();
        TokenPlacement owner = ranks.placement().ofContextRank((ranks.context().rank() - step + size) % size);
        return new TokenChunks(owner.chunkLength(length), owner.chunkStarts(length));
    }

    private int next() {
        return (ranks.context().rank() + 1) % ranks.context().size();
    }

    private int previous() {
        int size = ranks.context().size();
        return (ranks.context().rank() + size - 1) % size;
    }
}
