package io.fourfold.model;

import io.fourfold.config.AttentionConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
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
 * <p>Backward passes keys and values around once more, and one step behind them their gradient in FP32: it begins at the
 * owner's successor, every rank adds its part, and after CP - 1 hops it is back at the owner, who adds its own. So the order
 * of the sum is fixed. A pass to the next rank runs beside the computation with what is passed, where the ranks' group can.
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
        Tensor arriving = work.allocate(keyValues.dtype(), keyValues.shape());
        int last = ranks.context().size() - 1;
        for (int step = 0; step <= last; step++) {
            Pending passing = step < last ? pass(keyValues, arriving) : Pending.DONE;
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
            passing.await();
            Tensor free = keyValues;
            keyValues = arriving;
            arriving = free;
        }
        if (merged != out) {
            backend.elementwise().copy(merged, out);
        }
    }

    /** Writes dqkv. */
    void backward(
            Pass pass, AttentionShape shape, CoreAttention.State state, Tensor dout, Tensor dqkv, TensorScope work) {
        Tensor keyValues = own(pass, state.qkv(), work);
        Tensor arriving = work.allocate(keyValues.dtype(), keyValues.shape());
        Tensor dqueries = zeros(work, dqkv);
        Tensor dkeyValues = zeros(work, keyValues);
        Tensor travelling = zeros(work, keyValues);
        Tensor returning = work.allocate(DType.FP32, keyValues.shape());
        Pending passingGradient = Pending.DONE;
        int last = ranks.context().size() - 1;
        for (int step = 0; step <= last; step++) {
            Pending passing = step < last ? pass(keyValues, arriving) : Pending.DONE;
            if (step > 1) {
                passingGradient.await();
                Tensor free = travelling;
                travelling = returning;
                returning = free;
            }
            Tensor gradient = step == 0 ? dkeyValues : travelling;
            addPart(pass, shape, step, state, dout, keyValues, dqueries, gradient);
            if (step > 0) {
                passingGradient = pass(travelling, returning);
            }
            passing.await();
            Tensor free = keyValues;
            keyValues = arriving;
            arriving = free;
        }
        passingGradient.await();
        backend.elementwise().add(returning, dkeyValues, dkeyValues);
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

    /** Starts to give {@code mine} to the next rank and to take the previous rank's. */
    private Pending pass(Tensor mine, Tensor theirs) {
        Communicator context = ranks.context();
        long[] sent = new long[context.size()];
        long[] received = new long[context.size()];
        sent[next()] = mine.elements();
        received[previous()] = theirs.elements();
        return context.startAllToAllV(mine, sent, theirs, received);
    }

    private int next() {
        return (ranks.context().rank() + 1) % ranks.context().size();
    }

    private int previous() {
        int size = ranks.context().size();
        return (ranks.context().rank() + size - 1) % size;
    }
}
