package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.Tensor;

/** Where the tensors of one attention call keep each head and row, and how query rows group into blocks. */
final class AttentionLayout {
    /** Rows of one matrix product, over all heads that share a key head: enough for speed, few enough to skip keys. */
    private static final int STACKED_ROWS = 128;

    private static final int LARGEST_BLOCK = 64;
    private static final int SMALLEST_BLOCK = 16;

    private final AttentionShape shape;
    private final CpuTensor qkv;
    private final CpuTensor documentStart;
    private final CpuTensor out;
    private final CpuTensor logSumExp;
    private final int headsPerKey;
    private final int blockRows;

    AttentionLayout(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp) {
        this.shape = shape;
        this.qkv = Arguments.floats(qkv, "qkv", (long) shape.tokens() * shape.qkvWidth());
        this.documentStart = Arguments.int32(documentStart, "documentStart", shape.tokens());
        this.out = Arguments.floats(out, "out", (long) shape.tokens() * shape.outputWidth());
        this.logSumExp = Arguments.fp32(logSumExp, "logSumExp", (long) shape.tokens() * shape.heads());
        this.headsPerKey = shape.heads() / shape.kvHeads();
        int rows = Math.max(SMALLEST_BLOCK, Math.min(LARGEST_BLOCK, STACKED_ROWS / headsPerKey));
        this.blockRows = Math.max(1, Math.min(rows, shape.sequence()));
        for (int token = 0; token < shape.tokens(); token++) {
            int start = this.documentStart.ints()[this.documentStart.offset() + token];
            Arguments.require(
                    start >= 0 && start <= token % shape.sequence(),
                    "documentStart " + start + " of token " + token + " is after the token itself or negative");
        }
    }

    /**
     * Query rows {@code fromToken .. fromToken + rows} of the heads that share one key head, and the keys they can see.
     * Stacked row r is token r % rows of head r / rows.
     */
    record Block(int batch, int kvHead, int fromToken, int rows, int stackedRows, int firstKey) {
        int keyCount() {
            return fromToken + rows - firstKey;
        }

        int token(int stackedRow) {
            return fromToken + stackedRow % rows;
        }
    }

    Block block(int batch, int kvHead, int fromToken) {
        int rows = Math.min(blockRows, shape.sequence() - fromToken);
        int first = fromToken;
        for (int token = fromToken; token < fromToken + rows; token++) {
            first = Math.min(first, start(batch, token));
        }
        return new Block(batch, kvHead, fromToken, rows, rows * headsPerKey, first);
    }

    AttentionShape shape() {
        return shape;
    }

    CpuTensor qkv() {
        return qkv;
    }

    CpuTensor out() {
        return out;
    }

    CpuTensor logSumExp() {
        return logSumExp;
    }

    int blockRows() {
        return blockRows;
    }

    int stackedRows() {
        return blockRows * headsPerKey;
    }

    private int start(int batch, int token) {
        return documentStart.ints()[documentStart.offset() + batch * shape.sequence() + token];
    }

    int firstKeyOf(Block block, int stackedRow) {
        return start(block.batch(), block.token(stackedRow));
    }

    private int head(Block block, int stackedRow) {
        return block.kvHead() * headsPerKey + stackedRow / block.rows();
    }

    private int rowAt(int batch, int token) {
        return qkv.offset() + (batch * shape.sequence() + token) * shape.qkvWidth();
    }

    int queryAt(Block block, int stackedRow) {
        return rowAt(block.batch(), block.token(stackedRow)) + head(block, stackedRow) * shape.headDim();
    }

    int keyAt(int batch, int kvHead) {
        return rowAt(batch, 0) + (shape.heads() + kvHead) * shape.headDim();
    }

    int valueAt(int batch, int kvHead) {
        return keyAt(batch, kvHead) + shape.kvHeads() * shape.headDim();
    }

    int outAt(Block block, int stackedRow) {
        int token = block.batch() * shape.sequence() + block.token(stackedRow);
        return out.offset() + token * shape.outputWidth() + head(block, stackedRow) * shape.headDim();
    }

    int logSumExpAt(Block block, int stackedRow) {
        int head = block.batch() * shape.heads() + head(block, stackedRow);
        return logSumExp.offset() + head * shape.sequence() + block.token(stackedRow);
    }
}
