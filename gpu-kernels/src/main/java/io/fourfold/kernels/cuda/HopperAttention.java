package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;

import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import java.util.Set;

/**
 * Launches of the Hopper attention kernels (attention_forward_sm90a.cu, attention_backward_sm90a.cu): BF16, head dimensions
 * 64 and 128, any sequence length, documents. Backward takes FP32 memory as large as two times {@code out} from the
 * workspace; its results are equal to the bit from run to run.
 */
final class HopperAttention implements AutoCloseable {
    private static final String FORWARD = "attention_forward_sm90a";
    private static final String BACKWARD = "attention_backward_sm90a";
    private static final Set<Integer> HEADS = Set.of(64, 128);
    private static final int BOX = 64;
    private static final int KEYS = 128;
    private static final int BACKWARD_THREADS = 384;
    private static final int LINE = 256;
    private static final int ROW_VALUES = 3;
    /** Keys and values of the heads that forward walks at the same time should stay in the L2 (50 MB). */
    private static final long SECTION_BYTES = 24L << 20;
    /** Backward: tiles of keys that blocks walk at the same time, about two for each multiprocessor. */
    private static final int SECTION_TILES = 256;

    /** What a kernel's file says of its launch. */
    private record Kernel(CudaFunction function, int sharedBytes, int threads, int queries) {}

    private final CudaRuntime cuda;
    private final boolean hopper;
    private final Kernel[] forward = new Kernel[2];
    private final Kernel[] backward = new Kernel[2];
    private final TensorMaps maps = new TensorMaps();

    HopperAttention(CudaRuntime cuda) {
        this.cuda = cuda;
        hopper = cuda.device().architecture() == 90;
    }

    /** True when the kernels take this call; addresses are those of all its tensors but the masks. */
    boolean takes(AttentionShape shape, DType dtype, long... addresses) {
        boolean aligned = true;
        for (long address : addresses) {
            aligned &= address % 16 == 0;
        }
        return hopper && dtype == DType.BF16 && HEADS.contains(shape.headDim()) && shape.tokens() > 0 && aligned;
    }

    /** See {@link io.fourfold.kernels.op.AttentionOps#forward}. */
    void forward(AttentionShape shape, CudaTensor qkv, CudaTensor starts, CudaTensor out, CudaTensor logSumExp) {
        Kernel kernel = kernel(forward, FORWARD, "attention_forward_", shape.headDim());
        kernel.function.launch(
                cuda.device().multiprocessors(),
                1,
                1,
                kernel.threads,
                kernel.sharedBytes,
                rows(shape, qkv, shape.qkvWidth(), kernel.queries),
                rows(shape, qkv, shape.qkvWidth(), KEYS),
                rows(shape, out, shape.outputWidth(), BOX),
                starts,
                logSumExp,
                shape.batch(),
                shape.sequence(),
                shape.heads(),
                shape.kvHeads(),
                forwardSection(shape),
                shape.scale());
    }

    /** See {@link io.fourfold.kernels.op.AttentionOps#backward}. */
    void backward(
            AttentionShape shape,
            CudaTensor dout,
            CudaTensor qkv,
            CudaTensor starts,
            CudaTensor out,
            CudaTensor logSumExp,
            CudaTensor dqkv) {
        Kernel kernel = kernel(backward, BACKWARD, "attention_backward_", shape.headDim());
        int padded = blocks(shape.sequence(), KEYS) * KEYS;
        int heads = shape.batch() * shape.heads();
        int queryTiles = padded / kernel.queries;
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor rows = work.allocate(DType.FP32, heads, padded * ROW_VALUES);
            CudaTensor added = work.allocate(DType.INT32, 1 + heads * queryTiles);
            CudaTensor dq = work.allocate(DType.FP32, heads * padded, shape.headDim());
            prepare(shape, padded, dout, out, logSumExp, starts, rows, added);
            kernel.function.launch(
                    cuda.device().multiprocessors(),
                    1,
                    1,
                    kernel.threads,
                    kernel.sharedBytes,
                    rows(shape, qkv, shape.qkvWidth(), kernel.queries),
                    rows(shape, qkv, shape.qkvWidth(), KEYS),
                    rows(shape, dout, shape.outputWidth(), kernel.queries),
                    rows(shape, dqkv, shape.qkvWidth(), BOX),
                    starts,
                    rows,
                    dq,
                    added,
                    shape.batch(),
                    shape.sequence(),
                    shape.heads(),
                    shape.kvHeads(),
                    backwardSection(shape),
                    shape.scale());
            cuda.function(BACKWARD, "attention_backward_convert_" + shape.headDim())
                    .launch(
                            queryTiles,
                            heads,
                            1,
                            LINE,
                            0,
                            dq,
                            dqkv,
                            shape.sequence(),
                            shape.heads(),
                            shape.kvHeads(),
                            shape.scale());
        }
    }

    @Override
    public void close() {
        maps.close();
    }

    private void prepare(
            AttentionShape shape,
            int padded,
            CudaTensor dout,
            CudaTensor out,
            CudaTensor logSumExp,
            CudaTensor starts,
            CudaTensor rows,
            CudaTensor added) {
        long lanes = (long) shape.batch() * padded * shape.heads() * (shape.headDim() / 8);
        cuda.function(BACKWARD, "attention_backward_prepare")
                .launchLine(
                        blocks(lanes, LINE),
                        LINE,
                        dout,
                        out,
                        logSumExp,
                        starts,
                        rows,
                        added,
                        shape.batch(),
                        shape.sequence(),
                        shape.heads(),
                        shape.headDim());
    }

    private TensorMap rows(AttentionShape shape, CudaTensor tensor, int width, int boxRows) {
        return maps.bf16(tensor.address(), shape.batch(), shape.sequence(), width, boxRows, BOX);
    }

    private Kernel kernel(Kernel[] known, String file, String prefix, int dim) {
        Kernel kernel = known[dim / BOX - 1];
        if (kernel == null) {
            CudaFunction function = cuda.function(file, prefix + dim + "_sm90a");
            int threads = known == backward ? BACKWARD_THREADS : function.constant(prefix + dim + "_threads");
            kernel = new Kernel(
                    function,
                    function.constant(prefix + dim + "_shared_bytes"),
                    threads,
                    function.constant(prefix + dim + "_queries"));
            known[dim / BOX - 1] = kernel;
        }
        return kernel;
    }

    /** Heads of queries that walk the sequence together: those of as many key heads as the L2 holds. */
    private static int forwardSection(AttentionShape shape) {
        long bytes = (long) shape.sequence() * shape.headDim() * 2 * DType.BF16.bytes();
        int keyHeads = (int) Math.max(1, Math.min(SECTION_BYTES / bytes, Integer.MAX_VALUE / shape.heads()));
        return even(shape.batch() * shape.kvHeads(), keyHeads) * (shape.heads() / shape.kvHeads());
    }

    private static int backwardSection(AttentionShape shape) {
        return even(shape.batch() * shape.kvHeads(), Math.max(1, SECTION_TILES / blocks(shape.sequence(), KEYS)));
    }

    /** Parts of at most {@code most} of {@code all}, as equal as can be. */
    private static int even(int all, int most) {
        return blocks(all, blocks(all, most));
    }
}
