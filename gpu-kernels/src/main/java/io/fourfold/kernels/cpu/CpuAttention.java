package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.Tensor;
import java.util.List;

/**
 * Exact attention, in blocks of query rows. For each sequence and key head, the queries of all heads that share it are
 * stacked; a block of them meets only the keys between the first document start of its rows and its last row, so keys
 * that are masked for the whole block cost nothing. In FP32, with n the keys of row i:
 *
 * <pre>
 * forward   s = scale q K^T;  P = softmax(s);  o = P V;  lse = log sum exp s
 * backward  P = exp(s - lse);  dP = dO V^T;  dS = scale P (dP - rowsum(dO o));
 *           dQ = dS K;  dK = sum dS^T Q;  dV = sum P^T dO
 * </pre>
 *
 * (The recomputation of arXiv:2205.14135.) Parts of the keys merge by {@link LogSumExpMerge}. Results do not depend on the other sequences of the batch.
 */
final class CpuAttention implements AttentionOps, AutoCloseable {
    private final AttentionKeys keys = new AttentionKeys();
    private final AttentionBlocks blocks = new AttentionBlocks(keys);

    @Override
    public void forward(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp) {
        forward(shape, TokenChunks.whole(shape.sequence()), qkv, qkv, documentStart, out, logSumExp);
    }

    @Override
    public void forward(
            AttentionShape shape,
            TokenChunks queries,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        TokenChunks keys = TokenChunks.whole(shape.sequence());
        forward(new AttentionLayout(shape, queries, keys, qkv, keyValues, documentStart, out, logSumExp), false);
    }

    @Override
    public void forwardPart(
            AttentionShape shape,
            TokenChunks queries,
            TokenChunks keys,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        Arguments.fp32(out, "out", out.elements());
        forward(new AttentionLayout(shape, queries, keys, qkv, keyValues, documentStart, out, logSumExp), true);
    }

    private void forward(AttentionLayout layout, boolean merging) {
        AttentionShape shape = layout.shape();
        blocks.reserve(layout);
        for (int batch = 0; batch < shape.batch(); batch++) {
            for (int kvHead = 0; kvHead < shape.kvHeads(); kvHead++) {
                List<AttentionLayout.Block> seeing = layout.blocks(batch, kvHead);
                if (!seeing.isEmpty()) {
                    keys.load(layout, batch, kvHead);
                    seeing.forEach(block -> blocks.forward(layout, block, merging));
                }
            }
        }
        Bf16Rounding.roundIfNeeded(
                layout.out(), layout.out().offset(), layout.out().size());
    }

    @Override
    public void backward(
            AttentionShape shape,
            Tensor dout,
            Tensor qkv,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp,
            Tensor dqkv) {
        TokenChunks whole = TokenChunks.whole(shape.sequence());
        backward(shape, whole, dout, qkv, qkv, documentStart, out, logSumExp, dqkv, dqkv);
    }

    @Override
    public void backward(
            AttentionShape shape,
            TokenChunks queries,
            Tensor dout,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp,
            Tensor dqkv,
            Tensor dkeyValues) {
        TokenChunks keys = TokenChunks.whole(shape.sequence());
        AttentionLayout layout =
                new AttentionLayout(shape, queries, keys, qkv, keyValues, documentStart, out, logSumExp);
        backward(layout, dout, dqkv, dkeyValues, false);
    }

    @Override
    public void backwardPart(
            AttentionShape shape,
            TokenChunks queries,
            TokenChunks keys,
            Tensor dout,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp,
            Tensor dqkv,
            Tensor dkeyValues) {
        Arguments.fp32(dqkv, "dqkv", dqkv.elements());
        Arguments.fp32(dkeyValues, "dkeyValues", dkeyValues.elements());
        AttentionLayout layout =
                new AttentionLayout(shape, queries, keys, qkv, keyValues, documentStart, out, logSumExp);
        backward(layout, dout, dqkv, dkeyValues, true);
    }

    private void backward(AttentionLayout layout, Tensor dout, Tensor dqkv, Tensor dkeyValues, boolean adding) {
        AttentionShape shape = layout.shape();
        CpuTensor dOut = Arguments.floats(dout, "dout", layout.out().elements());
        CpuTensor dQueries = Arguments.floats(dqkv, "dqkv", layout.qkv().elements());
        CpuTensor dKeyValues =
                Arguments.floats(dkeyValues, "dkeyValues", layout.keyValues().elements());
        blocks.reserve(layout);
        blocks.reserveGradients(layout);
        for (int batch = 0; batch < shape.batch(); batch++) {
            for (int kvHead = 0; kvHead < shape.kvHeads(); kvHead++) {
                List<AttentionLayout.Block> seeing = layout.blocks(batch, kvHead);
                if (adding && seeing.isEmpty()) {
                    continue;
                }
                keys.load(layout, batch, kvHead);
                keys.beginGradients(layout, batch, kvHead, dKeyValues, adding);
                for (AttentionLayout.Block block : seeing) {
                    blocks.backward(layout, block, dOut, dQueries, adding);
                }
                keys.storeGradients(layout, batch, kvHead, dKeyValues);
            }
        }
        Bf16Rounding.roundIfNeeded(dQueries, dQueries.offset(), dQueries.size());
        Bf16Rounding.roundIfNeeded(dKeyValues, dKeyValues.offset(), dKeyValues.size());
    }

    @Override
    public void close() {
        keys.close();
        blocks.close();
    }
}
