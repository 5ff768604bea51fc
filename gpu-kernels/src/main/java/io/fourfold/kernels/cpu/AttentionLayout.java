package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/** Where the tensors of one attention call keep each head and row, and how query rows group into blocks. */
final class AttentionLayout {
    /** Rows of one matrix product, over all heads that share a key head: enough for speed, few enough to skip keys. */
    private static final int STACKED_ROWS = 128;

    private static final int LARGEST_BLOCK = 64;
    private static final int SMALLEST_BLOCK = 16;

    private final AttentionShape shape;
    private final TokenChunks queries;
    private final TokenChunks keys;
    private final CpuTensor qkv;
    private final CpuTensor keyValues;
    private final int keyWidth;
    private final int keyColumn;
    private final CpuTensor documentStart;
    private final CpuTensor out;
    private final CpuTensor logSumExp;
    private final int headsPerKey;
    private final int blockRows;

    AttentionLayout(
            AttentionShape shape,
            TokenChunks queries,
            TokenChunks keys,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        this.shape = shape;
        this.queries = queries;
        this.keys = keys;
        long queryTokens = (long) shape.batch() * queries.tokens();
        this.qkv = Arguments.floats(qkv, "qkv", queryTokens * shape.qkvWidth());
        // Keys and values of a plain call are the last columns of the packed rows.
        boolean packed = keyValues == qkv;
        this.keyWidth = packed ? shape.qkvWidth() : 2 * shape.kvHeads() * shape.headDim();
        this.keyColumn = packed ? shape.heads() * shape.headDim() : 0;
        this.keyValues = Arguments.floats(keyValues, "keyValues", (long) shape.batch() * keys.tokens() * keyWidth);
        this.documentStart = Arguments.int32(documentStart, "documentStart", shape.tokens());
        this.out = Arguments.floats(out, "out", queryTokens * shape.outputWidth());
        this.logSumExp = Arguments.fp32(logSumExp, "logSumExp", queryTokens * shape.heads());
        this.headsPerKey = shape.heads() / shape.kvHeads();
        int rows = Math.max(SMALLEST_BLOCK, Math.min(LARGEST_BLOCK, STACKED_ROWS / headsPerKey));
        this.blockRows = Math.max(1, Math.min(rows, queries.length()));
        requireWithin(shape, queries);
        requireWithin(shape, keys);
        for (int token = 0; token < shape.tokens(); token++) {
            int start = this.documentStart.ints()[this.documentStart.offset() + token];
            Arguments.require(
                    start >= 0 && start <= token % shape.sequence(),
                    "documentStart " + start + " of token " + token + " is after the token itself or negative");
        }
    }

    private static void requireWithin(AttentionShape shape, TokenChunks chunks) {
        for (int start : chunks.starts()) {
            Arguments.require(start + chunks.length() <= shape.sequence(), chunks + " leave " + shape);
        }
    }

    /**
     * Query rows {@code fromToken .. fromToken + rows} of the heads that share one key head, and the keys they can see.
     * Stacked row r is token r % rows of head r / rows.
     *
     * @param fromRow row of fromToken among the queries of its sequence
     * @param firstKey row of the first key that is seen, among the keys of its sequence
     * @param keyCount keys from there to the last one that is seen
     */
    record Block(
            int batch, int kvHead, int fromToken, int fromRow, int rows, int stackedRows, int firstKey, int keyCount) {
        int token(int stackedRow) {
            return fromToken + stackedRow % rows;
        }

        int row(int stackedRow) {
            return fromRow + stackedRow % rows;
        }
    }

    /** The blocks of a sequence and key head that see a key, in ascending order of their tokens. */
    List<Block> blocks(int batch, int kvHead) {
        List<Block> blocks = new ArrayList<>();
        for (int chunk = 0; chunk < queries.starts().size(); chunk++) {
            int start = queries.starts().get(chunk);
            for (int from = 0; from < queries.length(); from += blockRows) {
                int rows = Math.min(blockRows, queries.length() - from);
                Block block = block(batch, kvHead, start + from, chunk * queries.length() + from, rows);
                if (block.keyCount() > 0) {
                    blocks.add(block);
                }
            }
        }
        return blocks;
    }

    private Block block(int batch, int kvHead, int fromToken, int fromRow, int rows) {
        int first = fromToken;
        for (int token = fromToken; token < fromToken + rows; token++) {
            first = Math.min(first, start(batch, token));
        }
        int firstKey = keys.rowsBefore(first);
        int keyCount = keys.rowsBefore(fromToken + rows) - firstKey;
        return new Block(batch, kvHead, fromToken, fromRow, rows, rows * headsPerKey, firstKey, keyCount);
    }

    AttentionShape shape() {
        return shape;
    }

    CpuTensor qkv() {
        return qkv;
    }

    CpuTensor keyValues() {
        return keyValues;
    }

    /** Keys of one sequence. */
    int keyRows() {
        return keys.tokens();
    }

    int keyWidth() {
        return keyWidth;
    }

    CpuTensor out() {
        return out;
    }

    CpuTensor logSumExp() {
        return logSumExp;
    }

    int stackedRows() {
        return blockRows * headsPerKey;
    }

    private int start(int batch, int token) {
        return documentStart.ints()[documentStart.offset() + batch * shape.sequence() + token];
    }

    /** First key that a row sees, counted from the block's first one. */
    int beginOf(Block block, int stackedRow) {
        return keys.rowsBefore(start(block.batch(), block.token(stackedRow))) - block.firstKey();
    }

    /** One past the last key that a row sees; no more than {@link #beginOf} when it sees none. */
    int endOf(Block block, int stackedRow) {
        return keys.rowsBefore(block.token(stackedRow) + 1) - block.firstKey();
    }

    private int head(Block block, int stackedRow) {
        return block.kvHead() * headsPerKey + stackedRow / block.rows();
    }

    /** Row of a query among those of all sequences. */
    private int rowOf(Block block, int stackedRow) {
        return block.batch() * queries.tokens() + block.row(stackedRow);
    }

    int queryAt(Block block, int stackedRow) {
        return qkv.offset() + rowOf(block, stackedRow) * shape.qkvWidth() + head(block, stackedRow) * shape.headDim();
    }

    int keyAt(int batch, int kvHead) {
        return keyValues.offset() + batch * keys.tokens() * keyWidth + keyColumn + kvHead * shape.headDim();
    }

    int valueAt(int batch, int kvHead) {
        return keyAt(batch, kvHead) + shape.kvHeads() * shape.headDim();
    }

    int outAt(Block block, int stackedRow) {
        return out.offset()
                + rowOf(block, stackedRow) * shape.outputWidth()
                + head(block, stackedRow) * shape.headDim();
    }

    int logSumExpAt(Block block, int stackedRow) {
        int head = block.batch() * shape.heads() + head(block, stackedRow);
        return logSumExp.offset() + head * queries.tokens() + block.row(stackedRow);
    }
}
