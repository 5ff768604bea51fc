package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Set;

/**
 * Attention for BF16 by the Hopper kernels ({@link HopperAttention}) where they apply, else on tensor cores for head
 * dimensions 32, 64, 96 and 128 (attention_forward.cu, attention_backward.cu); anything else, FP32 included, by plain FP32
 * kernels that are slow (attention_any.cu).
 */
final class CudaAttentionOps implements AttentionOps, AutoCloseable {
    private static final Set<Integer> FAST_HEADS = Set.of(32, 64, 96, 128);
    private static final int LARGEST_HEAD = 256;
    private static final int QUERIES = 128;
    private static final int BLOCK = 64;

    private final CudaRuntime cuda;
    private final HopperAttention hopper;

    CudaAttentionOps(CudaRuntime cuda) {
        this.cuda = cuda;
        hopper = new HopperAttention(cuda);
    }

    @Override
    public void close() {
        hopper.close();
    }

    @Override
    public void forward(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp) {
        Call call = new Call(shape, qkv, documentStart, out, logSumExp);
        int dim = shape.headDim();
        if (hopper.takes(shape, call.qkv.dtype(), call.qkv.address(), call.out.address())) {
            hopper.forward(shape, call.qkv, call.starts, call.out, call.logSumExp);
            return;
        }
        if (!fast(call)) {
            String kernel = kernel("attention_any" + lanes(dim), call.qkv);
            cuda.function("attention_any", kernel)
                    .launchLine(
                            blocks((long) shape.tokens() * shape.heads(), 4),
                            128,
                            call.qkv,
                            call.starts,
                            call.out,
                            call.logSumExp,
                            shape.tokens(),
                            dim,
                            shape.sequence(),
                            shape.heads(),
                            shape.kvHeads(),
                            shape.scale());
            return;
        }
        int keys = dim <= 64 ? 64 : 32;
        cuda.function("attention_forward", "attention_forward_" + dim)
                .launch(
                        shape.batch() * shape.heads(),
                        blocks(shape.sequence(), QUERIES),
                        1,
                        128,
                        tileBytes(dim, QUERIES + 2 * keys),
                        call.qkv,
                        call.starts,
                        call.out,
                        call.logSumExp,
                        shape.sequence(),
                        shape.heads(),
                        shape.kvHeads(),
                        shape.scale());
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
        Call call = new Call(shape, qkv, documentStart, out, logSumExp);
        CudaTensor upstream = floats(dout, "dout", call.out.elements());
        CudaTensor gradient = floats(dqkv, "dqkv", call.qkv.elements());
        require(
                upstream.dtype() == call.qkv.dtype() && gradient.dtype() == call.qkv.dtype(),
                "dout " + upstream + " and dqkv " + gradient + " must have the type of qkv " + call.qkv);
        if (hopper.takes(
                shape,
                call.qkv.dtype(),
                call.qkv.address(),
                call.out.address(),
                upstream.address(),
                gradient.address())) {
            hopper.backward(shape, upstream, call.qkv, call.starts, call.out, call.logSumExp, gradient);
        } else if (fast(call) && upstream.address() % 16 == 0 && gradient.address() % 16 == 0) {
            backwardOnTensorCores(shape, call, upstream, gradient);
        } else {
            String kernel = kernel("attention_any_backward" + lanes(shape.headDim()), call.qkv);
            cuda.function("attention_any", kernel)
                    .launch(
                            blocks((long) shape.tokens() * shape.heads(), 4),
                            1,
                            2,
                            128,
                            0,
                            upstream,
                            call.qkv,
                            call.starts,
                            call.out,
                            call.logSumExp,
                            gradient,
                            shape.tokens(),
                            shape.headDim(),
                            shape.sequence(),
                            shape.heads(),
                            shape.kvHeads(),
                            shape.scale());
        }
    }

    private void backwardOnTensorCores(AttentionShape shape, Call call, CudaTensor dout, CudaTensor dqkv) {
        int dim = shape.headDim();
        int queries = dim <= 64 ? 64 : 32;
        int sequenceBlocks = blocks(shape.sequence(), BLOCK);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor delta = work.allocate(DType.FP32, call.logSumExp.shape());
            cuda.function("attention_backward", "attention_delta")
                    .launchLine(
                            blocks((long) shape.tokens() * shape.heads() * 16, 256),
                            256,
                            dout,
                            call.out,
                            delta,
                            shape.tokens(),
                            shape.sequence(),
                            shape.heads(),
                            dim);
            Object[] arguments = {
                dout,
                call.qkv,
                call.starts,
                call.logSumExp,
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

    private static int lanes(int dim) {
        require(dim <= LARGEST_HEAD, "attention on the GPU takes a headDim of up to " + LARGEST_HEAD + ", got " + dim);
        return dim <= 128 ? 4 : 8;
    }

    private static boolean fast(Call call) {
        return call.qkv.dtype() == DType.BF16
                && FAST_HEADS.contains(call.headDim)
                && call.qkv.address() % 16 == 0
                && call.out.address() % 16 == 0;
    }

    /** The checked arguments both directions share. */
    private static final class Call {
        private final int headDim;
        private final CudaTensor qkv;
        private final CudaTensor starts;
        private final CudaTensor out;
        private final CudaTensor logSumExp;

        Call(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp) {
            this.headDim = shape.headDim();
            this.qkv = floats(qkv, "qkv", (long) shape.tokens() * shape.qkvWidth());
            this.starts = int32(documentStart, "documentStart", shape.tokens());
            this.out = floats(out, "out", (long) shape.tokens() * shape.outputWidth());
            this.logSumExp = fp32(logSumExp, "logSumExp", (long) shape.tokens() * shape.heads());
            require(
                    this.qkv.dtype() == this.out.dtype(),
                    "qkv and out must have the same type: " + this.qkv + ", " + this.out);
        }
    }
}
