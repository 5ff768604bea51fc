package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;

import io.fourfold.kernels.cuda.AttentionCall.Kind;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import java.util.Set;

/**
 * Launches of attention_forward.cu and attention_backward.cu: BF16 on the tensor cores of any GPU, head dimensions 32, 64, 96
 * and 128, the last not for parts of the keys. Results are equal to the bit from run to run.
 */
final class TensorCoreAttention {
    private static final String FORWARD = "attention_forward";
    private static final String BACKWARD = "attention_backward";
    private static final Set<Integer> HEADS = Set.of(32, 64, 96, 128);
    private static final int LARGEST_OF_PARTS = 96;
    private static final int QUERIES = 128;
    private static final int BLOCK = 64;
    private static final int THREADS = 128;
    private static final int DELTA_LANES = 16;
    private static final int DELTA_THREADS = 256;

    private final CudaRuntime cuda;

    TensorCoreAttention(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** True when the kernels take this call; others: tensors beside those of the call. */
    boolean takes(AttentionCall call, CudaTensor... others) {
        int dim = call.shape().headDim();
        return call.qkv().dtype() == DType.BF16
                && HEADS.contains(dim)
                && (call.kind() != Kind.PART || dim <= LARGEST_OF_PARTS)
                && call.aligned(others);
    }

    void forward(AttentionCall call) {
        AttentionShape shape = call.shape();
        int dim = shape.headDim();
        int keys = dim <= 64 ? 64 : 32;
        cuda.function(FORWARD, name("attention_forward_", call))
                .launch(
                        shape.batch() * shape.heads(),
                        AttentionCall.tiles(call.queries(), QUERIES),
                        1,
                        THREADS,
                        tileBytes(dim, QUERIES + 2 * keys),
                        call.qkv(),
                        call.keyValues(),
                        call.documentStart(),
                        call.out(),
                        call.logSumExp(),
                        AttentionCall.argument(call.queries()),
                        AttentionCall.argument(call.keys()),
                        call.keyWidth(),
                        call.keyColumn(),
                        shape.sequence(),
                        shape.heads(),
                        shape.kvHeads(),
                        shape.scale());
    }

    void backward(AttentionCall call, CudaTensor dout, CudaTensor dqkv, CudaTensor dkeyValues) {
        AttentionShape shape = call.shape();
        int dim = shape.headDim();
        int queries = dim <= 64 ? 64 : 32;
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor delta = work.allocate(DType.FP32, call.logSumExp().shape());
            cuda.function(BACKWARD, "attention_delta")
                    .launchLine(
                            blocks((long) call.queryRows() * shape.heads() * DELTA_LANES, DELTA_THREADS),
                            DELTA_THREADS,
                            dout,
                            call.out(),
                            delta,
                            call.queryRows(),
                            call.queries().tokens(),
                            shape.heads(),
                            dim);
            Object[] arguments = {
                dout,
                call.qkv(),
                call.keyValues(),
                call.documentStart(),
                call.logSumExp(),
                delta,
                dqkv,
                dkeyValues,
                AttentionCall.argument(call.queries()),
                AttentionCall.argument(call.keys()),
                call.keyWidth(),
                call.keyColumn(),
                shape.sequence(),
                shape.heads(),
                shape.kvHeads(),
                shape.scale()
            };
            cuda.function(BACKWARD, name("attention_backward_kv_", call))
                    .launch(
                            shape.batch() * shape.kvHeads(),
                            AttentionCall.tiles(call.keys(), BLOCK),
                            1,
                            THREADS,
                            tileBytes(dim, 2 * BLOCK + 4 * queries),
                            arguments);
            cuda.function(BACKWARD, name("attention_backward_q_", call))
                    .launch(
                            shape.batch() * shape.heads(),
                            AttentionCall.tiles(call.queries(), BLOCK),
                            1,
                            THREADS,
                            tileBytes(dim, 6 * BLOCK),
                            arguments);
        }
    }

    private static String name(String prefix, AttentionCall call) {
        return prefix + (call.kind() == Kind.PART ? "part_" : "") + call.shape().headDim();
    }

    /** Shared memory of tiles with this many rows in total: rows are padded by eight values. */
    private static int tileBytes(int dim, int rows) {
        return rows * (dim + 8) * 2;
    }
}
