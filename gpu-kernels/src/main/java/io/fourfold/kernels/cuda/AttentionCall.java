package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;

/**
 * The checked arguments that forward and backward of attention share.
 *
 * @param kind which tokens are queries and keys, and what becomes of the results
 * @param keyValues where keys and values are: qkv itself in whole sequences
 */
record AttentionCall(
        AttentionShape shape,
        Kind kind,
        TokenChunks queries,
        TokenChunks keys,
        CudaTensor qkv,
        CudaTensor keyValues,
        CudaTensor documentStart,
        CudaTensor out,
        CudaTensor logSumExp) {
    /** As many chunks as a kernel takes, see ops/token_chunks.cuh. */
    private static final int MOST_CHUNKS = 8;

    /** The forms of {@link io.fourfold.kernels.op.AttentionOps}. */
    enum Kind {
        /** Queries, keys and values of all tokens, side by side. */
        WHOLE(""),
        /** Some queries, all keys. */
        CHUNKS("chunks_"),
        /** Some queries, some keys; merges and adds in FP32. */
        PART("part_");

        private final String infix;

        Kind(String infix) {
            this.infix = infix;
        }

        /** In the names of kernels. */
        String infix() {
            return infix;
        }
    }

    static AttentionCall whole(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp) {
        TokenChunks whole = TokenChunks.whole(shape.sequence());
        return checked(shape, Kind.WHOLE, whole, whole, qkv, qkv, documentStart, out, logSumExp);
    }

    static AttentionCall chunks(
            AttentionShape shape,
            TokenChunks queries,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        TokenChunks keys = TokenChunks.whole(shape.sequence());
        return checked(shape, Kind.CHUNKS, queries, keys, qkv, keyValues, documentStart, out, logSumExp);
    }

    static AttentionCall part(
            AttentionShape shape,
            TokenChunks queries,
            TokenChunks keys,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        return checked(shape, Kind.PART, queries, keys, qkv, keyValues, documentStart, out, logSumExp);
    }

    private static AttentionCall checked(
            AttentionShape shape,
            Kind kind,
            TokenChunks queries,
            TokenChunks keys,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        requireWithin(shape, queries);
        requireWithin(shape, keys);
        long rows = (long) shape.batch() * queries.tokens();
        int keyWidth = kind == Kind.WHOLE ? shape.qkvWidth() : 2 * shape.kvHeads() * shape.headDim();
        AttentionCall call = new AttentionCall(
                shape,
                kind,
                queries,
                keys,
                floats(qkv, "qkv", rows * shape.qkvWidth()),
                floats(keyValues, "keyValues", (long) shape.batch() * keys.tokens() * keyWidth),
                int32(documentStart, "documentStart", shape.tokens()),
                floats(out, "out", rows * shape.outputWidth()),
                fp32(logSumExp, "logSumExp", rows * shape.heads()));
        call.requireType(call.keyValues, "keyValues");
        return call;
    }

    private static void requireWithin(AttentionShape shape, TokenChunks chunks) {
        require(
                chunks.starts().size() <= MOST_CHUNKS,
                "attention on the GPU takes up to " + MOST_CHUNKS + " chunks, got " + chunks);
        for (int start : chunks.starts()) {
            require(start + chunks.length() <= shape.sequence(), chunks + " leave " + shape);
        }
    }

    void requireType(CudaTensor tensor, String name) {
        require(tensor.dtype() == qkv.dtype(), name + " " + tensor + " must have the type of qkv " + qkv);
    }

    /** Requires a result of the type this call computes: FP32 for parts, else that of qkv. */
    void requireResult(CudaTensor tensor, String name) {
        if (kind == Kind.PART) {
            require(tensor.dtype() == DType.FP32, name + " must be FP32 for parts of the keys, got " + tensor);
        } else {
            requireType(tensor, name);
        }
    }

    /** Width of a row of the tensor with the keys. */
    int keyWidth() {
        return kind == Kind.WHOLE ? shape.qkvWidth() : 2 * shape.kvHeads() * shape.headDim();
    }

    /** First column of the keys in it. */
    int keyColumn() {
        return kind == Kind.WHOLE ? shape.outputWidth() : 0;
    }

    /** Rows of queries of all sequences. */
    int queryRows() {
        return shape.batch() * queries.tokens();
    }

    int keyRows() {
        return shape.batch() * keys.tokens();
    }

    /** Whether these tensors and those of the call but for the masks begin at multiples of 16 bytes. */
    boolean aligned(CudaTensor... others) {
        boolean aligned = qkv.address() % 16 == 0 && keyValues.address() % 16 == 0 && out.address() % 16 == 0;
        for (CudaTensor other : others) {
            aligned &= other.address() % 16 == 0;
        }
        return aligned;
    }

    /** Tiles of {@code rows} rows of a sequence; none crosses a chunk. */
    static int tiles(TokenChunks chunks, int rows) {
        return chunks.starts().size() * CudaArguments.blocks(chunks.length(), rows);
    }

    /** Chunks as a kernel takes them, see ops/token_chunks.cuh. */
    static int[] argument(TokenChunks chunks) {
        int[] values = new int[2 + MOST_CHUNKS];
        values[0] = chunks.starts().size();
        values[1] = chunks.length();
        for (int chunk = 0; chunk < values[0]; chunk++) {
            values[2 + chunk] = chunks.starts().get(chunk);
        }
        return values;
    }
}
