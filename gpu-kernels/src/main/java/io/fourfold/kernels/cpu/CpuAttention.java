package io.fourfold.kernels.cpu;

import io.fourfold.kernels.cpu.Sgemm.Matrix;
import io.fourfold.kernels.cpu.Sgemm.Order;
import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.QueryChunks;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;

/**
 * Exact attention, in blocks of query rows. For each sequence and key head, the queries of all heads that share it are
 * stacked; a block of them meets only the keys between the first document start of its rows and its last row, so keys
 * that are masked for the whole block cost nothing. In FP32, with n the keys of row i:
 *
 * <pre>
 * forward   s = scale q K^T;  P = softmax(s);  o = P V;  lse = log sum exp s
 * backward  P = exp(s - lse);  dP = dO V^T;  dS = scale P (dP - rowsum(dO o));
 *           dQ = dS K;  dK = sum dS^T Q;  dV = sum P^T dO
 * </pre>
 *
 * (The recomputation of arXiv:2205.14135.) Results do not depend on the other sequences of the batch.
 */
final class CpuAttention implements AttentionOps, AutoCloseable {
    private final NativeFloats keys = new NativeFloats();
    private final NativeFloats values = new NativeFloats();
    private final NativeFloats queries = new NativeFloats();
    private final NativeFloats scores = new NativeFloats();
    private final NativeFloats outputs = new NativeFloats();
    private final NativeFloats scoreGradients = new NativeFloats();
    private final NativeFloats keyGradients = new NativeFloats();
    private final NativeFloats valueGradients = new NativeFloats();
    private float[] row = new float[0];
    private float[] gradientRow = new float[0];

    @Override
    public void forward(AttentionShape shape, Tensor qkv, Tensor documentStart, Tensor out, Tensor logSumExp) {
        forward(shape, QueryChunks.whole(shape.sequence()), qkv, qkv, documentStart, out, logSumExp);
    }

    @Override
    public void forward(
            AttentionShape shape,
            QueryChunks queries,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp) {
        AttentionLayout layout = new AttentionLayout(shape, queries, qkv, keyValues, documentStart, out, logSumExp);
        reserve(layout);
        for (int batch = 0; batch < shape.batch(); batch++) {
            for (int kvHead = 0; kvHead < shape.kvHeads(); kvHead++) {
                loadKeysAndValues(layout, batch, kvHead);
                layout.blocks(batch, kvHead).forEach(block -> forwardBlock(layout, block));
            }
        }
        Bf16Rounding.roundIfNeeded(
                layout.out(), layout.out().offset(), layout.out().size());
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
        QueryChunks whole = QueryChunks.whole(shape.sequence());
        backward(shape, whole, dout, qkv, qkv, documentStart, out, logSumExp, dqkv, dqkv);
    }

    @Override
    public void backward(
            AttentionShape shape,
            QueryChunks queries,
            Tensor dout,
            Tensor qkv,
            Tensor keyValues,
            Tensor documentStart,
            Tensor out,
            Tensor logSumExp,
            Tensor dqkv,
            Tensor dkeyValues) {
        AttentionLayout layout = new AttentionLayout(shape, queries, qkv, keyValues, documentStart, out, logSumExp);
        CpuTensor dOut = Arguments.floats(dout, "dout", layout.out().elements());
        CpuTensor dQueries = Arguments.floats(dqkv, "dqkv", layout.qkv().elements());
        CpuTensor dKeyValues =
                Arguments.floats(dkeyValues, "dkeyValues", layout.keyValues().elements());
        reserve(layout);
        int keyFloats = shape.sequence() * shape.headDim();
        scoreGradients.reserve(layout.stackedRows() * shape.sequence());
        keyGradients.reserve(Math.max(1, keyFloats));
        valueGradients.reserve(Math.max(1, keyFloats));
        for (int batch = 0; batch < shape.batch(); batch++) {
            for (int kvHead = 0; kvHead < shape.kvHeads(); kvHead++) {
                loadKeysAndValues(layout, batch, kvHead);
                keyGradients.zero(0, keyFloats);
                valueGradients.zero(0, keyFloats);
                for (AttentionLayout.Block block : layout.blocks(batch, kvHead)) {
                    backwardBlock(layout, block, dOut, dQueries);
                }
                storeKeyAndValueGradients(layout, batch, kvHead, dKeyValues);
            }
        }
        Bf16Rounding.roundIfNeeded(dQueries, dQueries.offset(), dQueries.size());
        Bf16Rounding.roundIfNeeded(dKeyValues, dKeyValues.offset(), dKeyValues.size());
    }

    private void reserve(AttentionLayout layout) {
        AttentionShape shape = layout.shape();
        int keyFloats = Math.max(1, shape.sequence() * shape.headDim());
        keys.reserve(keyFloats);
        values.reserve(keyFloats);
        queries.reserve(layout.stackedRows() * shape.headDim());
        outputs.reserve(layout.stackedRows() * shape.headDim());
        scores.reserve(Math.max(1, Math.multiplyExact(layout.stackedRows(), shape.sequence())));
        if (row.length < shape.sequence()) {
            row = new float[shape.sequence()];
            gradientRow = new float[shape.sequence()];
        }
    }

    private void loadKeysAndValues(AttentionLayout layout, int batch, int kvHead) {
        CpuTensor keyValues = layout.keyValues();
        int rows = layout.shape().sequence();
        int dim = layout.shape().headDim();
        int width = layout.keyWidth();
        keys.putMatrix(0, keyValues.floats(), layout.keyAt(batch, kvHead), width, rows, dim);
        values.putMatrix(0, keyValues.floats(), layout.valueAt(batch, kvHead), width, rows, dim);
    }

    private void forwardBlock(AttentionLayout layout, AttentionLayout.Block block) {
        int dim = layout.shape().headDim();
        int n = block.keyCount();
        loadQueries(layout, block);
        multiplyScores(layout, block);
        float[] sums = new float[block.stackedRows()];
        for (int r = 0; r < block.stackedRows(); r++) {
            sums[r] = exponentiateRow(layout, block, r);
        }
        Sgemm.multiply(
                Order.PLAIN,
                Order.PLAIN,
                block.stackedRows(),
                dim,
                n,
                1f,
                new Matrix(scores, 0, n),
                new Matrix(values, block.firstKey() * dim, dim),
                0f,
                new Matrix(outputs, 0, dim));
        CpuTensor out = layout.out();
        for (int r = 0; r < block.stackedRows(); r++) {
            int at = layout.outAt(block, r);
            outputs.get(r * dim, out.floats(), at, dim);
            divide(out.floats(), at, dim, sums[r]);
        }
    }

    private static void divide(float[] values, int at, int length, float divisor) {
        for (int i = at; i < at + length; i++) {
            values[i] /= divisor;
        }
    }

    private void loadQueries(AttentionLayout layout, AttentionLayout.Block block) {
        int dim = layout.shape().headDim();
        CpuTensor qkv = layout.qkv();
        for (int r = 0; r < block.stackedRows(); r++) {
            queries.put(r * dim, qkv.floats(), layout.queryAt(block, r), dim);
        }
    }

    /** scores [stackedRows, keyCount] = scale * queries * keys^T. */
    private void multiplyScores(AttentionLayout layout, AttentionLayout.Block block) {
        int dim = layout.shape().headDim();
        int n = block.keyCount();
        Sgemm.multiply(
                Order.PLAIN,
                Order.TRANSPOSED,
                block.stackedRows(),
                n,
                dim,
                layout.shape().scale(),
                new Matrix(queries, 0, dim),
                new Matrix(keys, block.firstKey() * dim, dim),
                0f,
                new Matrix(scores, 0, n));
    }

    /** Replaces row r of the scores by exp(s - max), zero where masked; stores log-sum-exp and returns the sum. */
    private float exponentiateRow(AttentionLayout layout, AttentionLayout.Block block, int r) {
        int n = block.keyCount();
        int begin = layout.firstKeyOf(block, r) - block.firstKey();
        int end = block.token(r) + 1 - block.firstKey();
        scores.get(r * n, row, 0, n);
        float[] sumAndMax = new float[2];
        SoftmaxRow.exponentiate(row, begin, end - begin, sumAndMax);
        Arrays.fill(row, 0, begin, 0f);
        Arrays.fill(row, end, n, 0f);
        scores.put(r * n, row, 0, n);
        layout.logSumExp().floats()[layout.logSumExpAt(block, r)] = SoftmaxRow.logSumExp(sumAndMax[1], sumAndMax[0]);
        return sumAndMax[0];
    }

    private void backwardBlock(
            AttentionLayout layout, AttentionLayout.Block block, CpuTensor dOut, CpuTensor gradient) {
        int dim = layout.shape().headDim();
        int n = block.keyCount();
        int m = block.stackedRows();
        int shift = dOut.offset() - layout.out().offset();
        loadQueries(layout, block);
        multiplyScores(layout, block);
        for (int r = 0; r < m; r++) {
            outputs.put(r * dim, dOut.floats(), layout.outAt(block, r) + shift, dim);
        }
        Matrix keyBlock = new Matrix(keys, block.firstKey() * dim, dim);
        Matrix valueBlock = new Matrix(values, block.firstKey() * dim, dim);
        Matrix probabilities = new Matrix(scores, 0, n);
        Matrix dScores = new Matrix(scoreGradients, 0, n);
        Matrix dOutputs = new Matrix(outputs, 0, dim);
        Sgemm.multiply(Order.PLAIN, Order.TRANSPOSED, m, n, dim, 1f, dOutputs, valueBlock, 0f, dScores);
        for (int r = 0; r < m; r++) {
            differentiateRow(layout, block, r, dOut);
        }
        Matrix dValues = new Matrix(valueGradients, block.firstKey() * dim, dim);
        Matrix dKeys = new Matrix(keyGradients, block.firstKey() * dim, dim);
        Matrix stacked = new Matrix(queries, 0, dim);
        Sgemm.multiply(Order.TRANSPOSED, Order.PLAIN, n, dim, m, 1f, probabilities, dOutputs, 1f, dValues);
        Sgemm.multiply(Order.TRANSPOSED, Order.PLAIN, n, dim, m, 1f, dScores, stacked, 1f, dKeys);
        // The queries have done their part: their memory takes their gradient.
        Sgemm.multiply(Order.PLAIN, Order.PLAIN, m, dim, n, 1f, dScores, keyBlock, 0f, stacked);
        for (int r = 0; r < m; r++) {
            queries.get(
                    r * dim,
                    gradient.floats(),
                    layout.queryAt(block, r) - layout.qkv().offset() + gradient.offset(),
                    dim);
        }
    }

    /** Row r: scores become probabilities, their gradients become those of the scores; zero where masked. */
    private void differentiateRow(AttentionLayout layout, AttentionLayout.Block block, int r, CpuTensor dOut) {
        int n = block.keyCount();
        int begin = layout.firstKeyOf(block, r) - block.firstKey();
        int end = block.token(r) + 1 - block.firstKey();
        float lse = layout.logSumExp().floats()[layout.logSumExpAt(block, r)];
        float scale = layout.shape().scale();
        int outAt = layout.outAt(block, r);
        int dOutAt = outAt - layout.out().offset() + dOut.offset();
        float dot = Sums.dot(
                dOut.floats(),
                dOutAt,
                layout.out().floats(),
                outAt,
                layout.shape().headDim());
        scores.get(r * n, row, 0, n);
        scoreGradients.get(r * n, gradientRow, 0, n);
        Arrays.fill(row, 0, begin, 0f);
        Arrays.fill(gradientRow, 0, begin, 0f);
        for (int i = begin; i < end; i++) {
            row[i] = FloatExp.exp(row[i] - lse);
        }
        for (int i = begin; i < end; i++) {
            gradientRow[i] = row[i] * (gradientRow[i] - dot) * scale;
        }
        Arrays.fill(row, end, n, 0f);
        Arrays.fill(gradientRow, end, n, 0f);
        scores.put(r * n, row, 0, n);
        scoreGradients.put(r * n, gradientRow, 0, n);
    }

    private void storeKeyAndValueGradients(AttentionLayout layout, int batch, int kvHead, CpuTensor gradient) {
        int rows = layout.shape().sequence();
        int dim = layout.shape().headDim();
        int width = layout.keyWidth();
        int shift = gradient.offset() - layout.keyValues().offset();
        keyGradients.getMatrix(0, gradient.floats(), layout.keyAt(batch, kvHead) + shift, width, rows, dim);
        valueGradients.getMatrix(0, gradient.floats(), layout.valueAt(batch, kvHead) + shift, width, rows, dim);
    }

    @Override
    public void close() {
        keys.close();
        values.close();
        queries.close();
        scores.close();
        outputs.close();
        scoreGradients.close();
        keyGradients.close();
        valueGradients.close();
    }
}
