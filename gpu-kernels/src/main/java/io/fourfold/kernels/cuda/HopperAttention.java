package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;

import io.fourfold.kernels.cuda.AttentionCall.Kind;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.DType;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Launches of the Hopper attention kernels (attention_forward_sm90a.cu, attention_backward_sm90a.cu): BF16, head dimensions
 * 64 and 128, any sequence length, documents, whole sequences, chunks and parts. Backward takes FP32 memory as large as two
 * times {@code out} from the workspace; its results are equal to the bit from run to run.
 */
final class HopperAttention implements AutoCloseable {
    private static final String FORWARD = "attention_forward_";
    private static final String BACKWARD = "attention_backward_";
    private static final String SUFFIX = "sm90a";
    private static final Set<Integer> HEADS = Set.of(64, 128);
    private static final int BOX = 64;
    private static final int KEYS = 128;
    private static final int BACKWARD_THREADS = 384;
    private static final int LINE = 256;
    /** Of every query and, beside those, of every tile of them. */
    private static final int ROW_VALUES = 3;

    private static final int TILE_VALUES = 4;
    /** Keys and values of the heads that forward walks at the same time should stay in the L2 (50 MB). */
    private static final long SECTION_BYTES = 24L << 20;
    /** Backward: tiles of keys that blocks walk at the same time, about two for each multiprocessor. */
    private static final int SECTION_TILES = 256;

    /** What a kernel's file says of its launch. */
    private record Kernel(CudaFunction function, int sharedBytes, int threads, int queries) {}

    private record Name(String direction, Kind kind, int headDim) {}

    private final CudaRuntime cuda;
    private final boolean hopper;
    private final Map<Name, Kernel> kernels = new HashMap<>();
    private final TensorMaps maps = new TensorMaps();

    HopperAttention(CudaRuntime cuda) {
        this.cuda = cuda;
        hopper = cuda.device().architecture() == 90;
    }

    /** True when the kernels take this call; others: tensors beside those of the call. */
    boolean takes(AttentionCall call, CudaTensor... others) {
        return hopper
                && call.qkv().dtype() == DType.BF16
                && HEADS.contains(call.shape().headDim())
                && call.queryRows() > 0
                && call.keyRows() > 0
                && call.aligned(others);
    }

    /** See {@link io.fourfold.kernels.op.AttentionOps#forward}. */
    void forward(AttentionCall call) {
        Kernel kernel = kernel(new Name(FORWARD, call.kind(), call.shape().headDim()));
        List<Object> arguments = new ArrayList<>();
        arguments.add(queryMap(call, call.qkv(), call.shape().qkvWidth(), kernel.queries));
        arguments.add(keyMap(call, call.keyValues(), KEYS));
        arguments.add(
                call.kind() == Kind.PART
                        ? call.out()
                        : queryMap(call, call.out(), call.shape().outputWidth(), BOX));
        arguments.add(call.documentStart());
        arguments.add(call.logSumExp());
        launch(kernel, call, arguments, forwardSection(call));
    }

    /** See {@link io.fourfold.kernels.op.AttentionOps#backward}. */
    void backward(AttentionCall call, CudaTensor dout, CudaTensor dqkv, CudaTensor dkeyValues) {
        AttentionShape shape = call.shape();
        Kernel kernel = kernel(new Name(BACKWARD, call.kind(), shape.headDim()));
        int heads = shape.batch() * shape.heads();
        int tiles = AttentionCall.tiles(call.queries(), kernel.queries);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor rows = work.allocate(DType.FP32, heads * tiles, kernel.queries * ROW_VALUES + TILE_VALUES);
            CudaTensor added = work.allocate(DType.INT32, 1 + heads * tiles);
            CudaTensor dq = work.allocate(DType.FP32, heads * tiles * kernel.queries, shape.headDim());
            prepare(call, tiles * kernel.queries, dout, rows, added);
            List<Object> arguments = new ArrayList<>();
            arguments.add(queryMap(call, call.qkv(), shape.qkvWidth(), kernel.queries));
            arguments.add(keyMap(call, call.keyValues(), KEYS));
            arguments.add(queryMap(call, dout, shape.outputWidth(), kernel.queries));
            if (call.kind() != Kind.PART) {
                arguments.add(queryMap(call, dqkv, shape.qkvWidth(), BOX));
            }
            if (call.kind() == Kind.CHUNKS) {
                arguments.add(keyMap(call, dkeyValues, BOX));
            }
            if (call.kind() != Kind.WHOLE) {
                arguments.add(dkeyValues);
            }
            arguments.addAll(List.of(call.documentStart(), rows, dq, added));
            launch(kernel, call, arguments, backwardSection(call));
            if (call.kind() == Kind.PART) {
                addQueryGradients(call, tiles, dq, added, dqkv);
            }
        }
    }

    @Override
    public void close() {
        maps.close();
    }

    private void launch(Kernel kernel, AttentionCall call, List<Object> arguments, int sectionHeads) {
        AttentionShape shape = call.shape();
        if (call.kind() != Kind.WHOLE) {
            arguments.add(AttentionCall.argument(call.queries()));
            arguments.add(AttentionCall.argument(call.keys()));
        }
        arguments.addAll(
                List.of(shape.batch(), shape.sequence(), shape.heads(), shape.kvHeads(), sectionHeads, shape.scale()));
        kernel.function.launch(
                cuda.device().freeMultiprocessors(), 1, 1, kernel.threads, kernel.sharedBytes, arguments.toArray());
    }

    private void prepare(AttentionCall call, int padded, CudaTensor dout, CudaTensor rows, CudaTensor added) {
        AttentionShape shape = call.shape();
        List<Object> arguments =
                new ArrayList<>(List.of(dout, call.out(), call.logSumExp(), call.documentStart(), rows, added));
        if (call.kind() != Kind.WHOLE) {
            arguments.add(AttentionCall.argument(call.queries()));
        }
        arguments.addAll(List.of(shape.batch(), shape.sequence(), shape.heads(), shape.headDim()));
        long lanes = (long) shape.batch() * padded * shape.heads() * (shape.headDim() / 8);
        String name = call.kind() == Kind.WHOLE ? "prepare" : "prepare_chunks";
        cuda.function(BACKWARD + SUFFIX, BACKWARD + name).launchLine(blocks(lanes, LINE), LINE, arguments.toArray());
    }

    private void addQueryGradients(AttentionCall call, int tiles, CudaTensor dq, CudaTensor added, CudaTensor dqkv) {
        AttentionShape shape = call.shape();
        cuda.function(BACKWARD + SUFFIX, BACKWARD + "add_" + shape.headDim())
                .launch(
                        tiles,
                        shape.batch() * shape.heads(),
                        1,
                        LINE,
                        0,
                        dq,
                        added,
                        dqkv,
                        AttentionCall.argument(call.queries()),
                        shape.heads(),
                        shape.kvHeads(),
                        shape.scale());
    }

    private TensorMap queryMap(AttentionCall call, CudaTensor tensor, int width, int boxRows) {
        return map(call, call.queries(), tensor, width, boxRows);
    }

    private TensorMap keyMap(AttentionCall call, CudaTensor tensor, int boxRows) {
        return map(call, call.keys(), tensor, call.keyWidth(), boxRows);
    }

    /** Every chunk is a matrix of its own, so that boxes end with it. */
    private TensorMap map(AttentionCall call, TokenChunks chunks, CudaTensor tensor, int width, int boxRows) {
        int matrices = call.shape().batch() * chunks.starts().size();
        return maps.bf16(tensor.address(), matrices, chunks.length(), width, boxRows, BOX);
    }

    private Kernel kernel(Name name) {
        return kernels.computeIfAbsent(name, wanted -> {
            String direction = wanted.direction;
            CudaFunction function =
                    cuda.function(direction + SUFFIX, direction + wanted.kind.infix() + wanted.headDim + "_" + SUFFIX);
            String constants = direction + wanted.headDim;
            int threads = direction.equals(BACKWARD) ? BACKWARD_THREADS : function.constant(constants + "_threads");
            return new Kernel(
                    function,
                    function.constant(constants + "_shared_bytes"),
                    threads,
                    function.constant(constants + "_queries"));
        });
    }

    /** Heads of queries that walk the sequence together: those of as many key heads as the L2 holds. */
    private static int forwardSection(AttentionCall call) {
        AttentionShape shape = call.shape();
        long bytes = (long) call.keys().tokens() * shape.headDim() * 2 * DType.BF16.bytes();
        int keyHeads = (int) Math.max(1, Math.min(SECTION_BYTES / bytes, Integer.MAX_VALUE / shape.heads()));
        return even(shape.batch() * shape.kvHeads(), keyHeads) * (shape.heads() / shape.kvHeads());
    }

    private static int backwardSection(AttentionCall call) {
        int keyHeads = Math.max(1, SECTION_TILES / AttentionCall.tiles(call.keys(), KEYS));
        return even(call.shape().batch() * call.shape().kvHeads(), keyHeads);
    }

    /** Parts of at most {@code most} of {@code all}, as equal as can be. */
    private static int even(int all, int most) {
        return blocks(all, blocks(all, most));
    }
}
