package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.AttentionShape;

/** Launches of attention_any.cu: every type, every head dimension up to 256, every kind of call; slow. */
final class AnyAttention {
    private static final String FILE = "attention_any";
    private static final int LARGEST_HEAD = 256;
    private static final int WARPS = 4;

    private final CudaRuntime cuda;

    AnyAttention(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    void forward(AttentionCall call) {
        AttentionShape shape = call.shape();
        cuda.function(FILE, name("attention_any", call))
                .launchLine(
                        blocks((long) call.queryRows() * shape.heads(), WARPS),
                        32 * WARPS,
                        call.qkv(),
                        call.keyValues(),
                        call.documentStart(),
                        call.out(),
                        call.logSumExp(),
                        AttentionCall.argument(call.queries()),
                        AttentionCall.argument(call.keys()),
                        call.keyWidth(),
                        call.keyColumn(),
                        shape.batch(),
                        shape.headDim(),
                        shape.sequence(),
                        shape.heads(),
                        shape.kvHeads(),
                        shape.scale());
    }

    void backward(AttentionCall call, CudaTensor dout, CudaTensor dqkv, CudaTensor dkeyValues) {
        AttentionShape shape = call.shape();
        long items = Math.max((long) call.queryRows() * shape.heads(), (long) call.keyRows() * shape.kvHeads());
        cuda.function(FILE, name("attention_any_backward", call))
                .launch(
                        blocks(items, WARPS),
                        1,
                        2,
                        32 * WARPS,
                        0,
                        dout,
                        call.qkv(),
                        call.keyValues(),
                        call.documentStart(),
                        call.out(),
                        call.logSumExp(),
                        dqkv,
                        dkeyValues,
                        AttentionCall.argument(call.queries()),
                        AttentionCall.argument(call.keys()),
                        call.keyWidth(),
                        call.keyColumn(),
                        shape.batch(),
                        shape.headDim(),
                        shape.sequence(),
                        shape.heads(),
                        shape.kvHeads(),
                        shape.scale());
    }

    private static String name(String prefix, AttentionCall call) {
        int dim = call.shape().headDim();
        require(dim <= LARGEST_HEAD, "attention on the GPU takes a headDim of up to " + LARGEST_HEAD + ", got " + dim);
        String part = call.kind() == AttentionCall.Kind.PART ? "_part" : "";
        return kernel(prefix + part + (dim <= 128 ? 4 : 8), call.qkv());
    }
}
