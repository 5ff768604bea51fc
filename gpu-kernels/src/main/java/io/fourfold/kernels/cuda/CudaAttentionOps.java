package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.floats;

import io.fourfold.kernels.cuda.AttentionCall.Kind;
import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Set;

/**
 * Attention for BF16 by the Hopper kernels ({@link HopperAttention}) where they apply, else on tensor cores for whole
 * sequences of head dimensions 32, 64, 96 and 128 (attention_forward.cu, attention_backward.cu); anything else, FP32
 * included, by plain FP32 kernels that are slow ({@link AnyAttention}).
 */
final class CudaAttentionOps implements AttentionOps, AutoCloseable {
    private static final Set<Integer> FAST_HEADS = Set.of(32, 64, 96, 128);
    private static final int QUERIES = 128;
    private static final int BLOCK = 64;

    private final CudaRuntime cuda;
    private final HopperAttention hopper;
    private final AnyAttention any;

    CudaAttentionOps(CudaRuntime cuda) {
        this.cuda = cuda;
        hopper = new HopperAttention(cuda);
        any = new AnyAttention(cuda);
    }

    @Override
    public void close() {
        hopper.close();
    }

    @Override
    public void forward(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp) {
        forward(AttentionCall.whole(shape, qkv, documentStart, out, logSumExp));
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
        forward(AttentionCall.chunks(shape, queries, qkv, keyValues, documentStart, out, logSumExp));
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
        forward(AttentionCall.part(shape, queries, keys, qkv, keyValues, documentStart, out, logSumExp));
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
        backward(AttentionCall.whole(shape, qkv, documentStart, out, logSumExp), dout, dqkv, dqkv);
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
        AttentionCall call = AttentionCall.chunks(shape, queries, qkv, keyValues, documentStart, out, logSumExp);
        backward(call, dout, dqkv, dkeyValues);
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
        AttentionCall call = AttentionCall.part(shape, queries, keys, qkv, keyValues, documentStart, out, logSumExp);
        backward(call, dout, dqkv, dkeyValues);
    }

    private void forward(AttentionCall call) {
        call.requireResult(call.out(), "out");
        if (hopper.takes(call)) {
            hopper.forward(call);
        } else if (fast(call)) {
            forwardOnTensorCores(call);
        } else {
            any.forward(call);
        }
    }

    private void backward(AttentionCall call, Tensor dout, Tensor dqkv, Tensor dkeyValues) {
        CudaTensor upstream = floats(dout, "dout", call.out().elements());
        CudaTensor gradient = floats(dqkv, "dqkv", call.qkv().elements());
        CudaTensor keyGradient = floats(dkeyValues, "dkeyValues", call.keyValues().elements());
        call.requireType(call.out(), "out");
        call.requireType(upstream, "dout");
        call.requireResult(gradient, "dqkv");
        call.requireResult(keyGradient, "dkeyValues");
        if (hopper.takes(call, upstream, gradient, keyGradient)) {
            hopper.backward(call, upstream, gradient, keyGradient);
        } else if (fast(call) && upstream.address() % 16 == 0 && gradient.address() % 16 == 0) {
            backwardOnTensorCores(call, upstream, gradient);
        } else {
            any.backward(call, upstream, gradient, keyGradient);
        }
    }

    private void forwardOnTensorCores(AttentionCall call) {
        AttentionShape shape = call.shape();
        int dim = shape.headDim();
        int keys = dim <= 64 ? 64 : 32;
        cuda.function("attention_forward", "attention_forward_" + dim)
                .launch(
                        shape.batch() * shape.heads(),
                        blocks(shape.sequence(), QUERIES),
                        1,
                        128,
                        tileBytes(dim, QUERIES + 2 * keys),
                        call.qkv(),
                        call.documentStart(),
                        call.out(),
                        call.logSumExp(),
                        shape.sequence(),
                        shape.heads(),
                        shape.kvHeads(),
                        shape.scale());
    }

    private void backwardOnTensorCores(AttentionCall call, CudaTensor dout, CudaTensor dqkv) {
        AttentionShape shape = call.shape();
        int dim = shape.headDim();
        int queries = dim <= 64 ? 64 : 32;
        int sequenceBlocks = blocks(shape.sequence(), BLOCK);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor delta = work.allocate(DType.FP32, call.logSumExp().shape());
            cuda.function("attention_backward", "attention_delta")
                    .launchLine(
                            blocks((long) shape.tokens() * shape.heads() * 16, 256),
                            256,
                            dout,
                            call.out(),
                            delta,
                            shape.tokens(),
                            shape.sequence(),
                            shape.heads(),
                            dim);
            Object[] arguments = {
                dout,
                call.qkv(),
                call.documentStart(),
                call.logSumExp(),
                delta,
                dqkv,
                shape.sequence(),
                shape.heads(),
                shape.kvHeads(),
                shape.scale()
            };
            cuda.function("attention_backward", "attention_backward_kv_" + dim)
                    .launch(
                            shape.batch() * shape.kvHeads(),
                            sequenceBlocks,
                            1,
                            128,
                            tileBytes(dim, 2 * BLOCK + 4 * queries),
                            arguments);
            cuda.function("attention_backward", "attention_backward_q_" + dim)
                    .launch(
                            shape.batch() * shape.heads(),
                            sequenceBlocks,
                            1,
                            128,
                            tileBytes(dim, 6 * BLOCK),
                            arguments);
        }
    }

    /** Shared memory of tiles with this many rows in total: rows are padded by eight values. */
    private static int tileBytes(int dim, int rows) {
        return rows * (dim + 8) * 2;
    }

    private static boolean fast(AttentionCall call) {
        return call.kind() == Kind.WHOLE
                && call.qkv().dtype() == DType.BF16
                && FAST_HEADS.contains(call.shape().headDim())
                && call.qkv().address() % 16 == 0
                && call.out().address() % 16 == 0;
    }
}
