package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.floats;

import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.Tensor;

/**
 * Attention for BF16 by the Hopper kernels ({@link HopperAttention}) where they apply, else on tensor cores
 * ({@link TensorCoreAttention}); anything else, FP32 included, by plain FP32 kernels that are slow ({@link AnyAttention}).
 */
final class CudaAttentionOps implements AttentionOps, AutoCloseable {
    private final HopperAttention hopper;
    private final TensorCoreAttention tensorCores;
    private final AnyAttention any;

    CudaAttentionOps(CudaRuntime cuda) {
        hopper = new HopperAttention(cuda);
        tensorCores = new TensorCoreAttention(cuda);
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
        } else if (tensorCores.takes(call)) {
            tensorCores.forward(call);
        } else {
            any.forward(call);
        }
    }

    private void backward(AttentionCall call, Tensor dout, Tensor dqkv, Tensor dkeyValues) {
        CudaTensor upstream = floats(dout, "dout", call.out().elements());
        CudaTensor gradient = floats(dqkv, "dqkv", call.qkv().elements());
        CudaTensor keyGradient =
                floats(dkeyValues, "dkeyValues", call.keyValues().elements());
        call.requireType(call.out(), "out");
        call.requireType(upstream, "dout");
        call.requireResult(gradient, "dqkv");
        call.requireResult(keyGradient, "dkeyValues");
        if (hopper.takes(call, upstream, gradient, keyGradient)) {
            hopper.backward(call, upstream, gradient, keyGradient);
        } else if (tensorCores.takes(call, upstream, gradient, keyGradient)) {
            tensorCores.backward(call, upstream, gradient, keyGradient);
        } else {
            any.backward(call, upstream, gradient, keyGradient);
        }
    }
}
