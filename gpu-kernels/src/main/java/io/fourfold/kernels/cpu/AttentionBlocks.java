package io.fourfold.kernels.cpu;

import io.fourfold.kernels.cpu.Sgemm.Matrix;
import io.fourfold.kernels.cpu.Sgemm.Order;
import java.util.Arrays;

/** The arithmetic of {@link CpuAttention}: one block of query rows against the loaded keys. */
final class AttentionBlocks implements AutoCloseable {
    private final AttentionKeys keys;
    private final NativeFloats queries = new NativeFloats();
    private final NativeFloats scores = new NativeFloats();
    private final NativeFloats outputs = new NativeFloats();
    private final NativeFloats scoreGradients = new NativeFloats();
    private float[] row = new float[0];
    private float[] gradientRow = new float[0];

    AttentionBlocks(AttentionKeys keys) {
        this.keys = keys;
    }

    void reserve(AttentionLayout layout) {
        int dim = layout.shape().headDim();
        int rows = layout.keyRows();
        queries.reserve(layout.stackedRows() * dim);
        outputs.reserve(layout.stackedRows() * dim);
        scores.reserve(Math.max(1, Math.multiplyExact(layout.stackedRows(), rows)));
        if (row.length < rows) {
            row = new float[rows];
            gradientRow = new float[rows];
        }
    }

    void reserveGradients(AttentionLayout layout) {
        scoreGradients.reserve(Math.max(1, layout.stackedRows() * layout.keyRows()));
    }

    /**
     * @param merging whether the rows merge into what out and log-sum-exp hold
     */
    void forward(AttentionLayout layout, AttentionLayout.Block block, boolean merging) {
        int dim = layout.shape().headDim();
        int n = block.keyCount();
        loadQueries(layout, block);
        multiplyScores(layout, block);
        float[] sums = new float[block.stackedRows()];
        float[] logSumExps = new float[block.stackedRows()];
        for (int r = 0; r < block.stackedRows(); r++) {
            exponentiateRow(layout, block, r, sums, logSumExps);
        }
        Sgemm.multiply(
                Order.PLAIN,
                Order.PLAIN,
                block.stackedRows(),
                dim,
                n,
                1f,
                new Matrix(scores, 0, n),
                keys.values(layout, block),
                0f,
                new Matrix(outputs, 0, dim));
        float[] output = new float[dim];
        for (int r = 0; r < block.stackedRows(); r++) {
            outputs.get(r * dim, output, 0, dim);
            divide(output, sums[r]);
            storeRow(layout, block, r, output, logSumExps[r], merging);
        }
    }

    private static void storeRow(
            AttentionLayout layout,
            AttentionLayout.Block block,
            int r,
            float[] output,
            float logSumExp,
            boolean merging) {
        float[] out = layout.out().floats();
        int at = layout.outAt(block, r);
        float[] logSumExps = layout.logSumExp().floats();
        int logSumExpAt = layout.logSumExpAt(block, r);
        if (merging) {
            float before = logSumExps[logSumExpAt];
            float merged = LogSumExpMerge.logSumExp(before, logSumExp);
            LogSumExpMerge.merge(out, at, before, output, logSumExp, merged);
            logSumExps[logSumExpAt] = merged;
        } else {
            System.arraycopy(output, 0, out, at, output.length);
            logSumExps[logSumExpAt] = logSumExp;
        }
    }

    private static void divide(float[] values, float divisor) {
        for (int i = 0; i < values.length; i++) {
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
                keys.keys(layout, block),
                0f,
                new Matrix(scores, 0, n));
    }

    /**
     * Replaces row r of the scores by exp(s - max), zero where masked, and stores their sum and log-sum-exp. A row that
     * sees none of the keys has negative infinity there.
     */
    private void exponentiateRow(
            AttentionLayout layout, AttentionLayout.Block block, int r, float[] sums, float[] logSumExps) {
        int n = block.keyCount();
        int begin = layout.beginOf(block, r);
        int end = layout.endOf(block, r);
        if (begin >= end) {
            Arrays.fill(row, 0, n, 0f);
            scores.put(r * n, row, 0, n);
            sums[r] = 1;
            logSumExps[r] = Float.NEGATIVE_INFINITY;
            return;
        }
        scores.get(r * n, row, 0, n);
        float[] sumAndMax = new float[2];
        SoftmaxRow.exponentiate(row, begin, end - begin, sumAndMax);
        Arrays.fill(row, 0, begin, 0f);
        Arrays.fill(row, end, n, 0f);
        scores.put(r * n, row, 0, n);
        sums[r] = sumAndMax[0];
        logSumExps[r] = SoftmaxRow.logSumExp(sumAndMax[1], sumAndMax[0]);
    }

    /**
     * Adds to the gradients of the keys.
     *
     * @param gradient takes that of the queries
     * @param adding whether it is added
     */
    void backward(
            AttentionLayout layout, AttentionLayout.Block block, CpuTensor dOut, CpuTensor gradient, boolean adding) {
        int dim = layout.shape().headDim();
        int n = block.keyCount();
        int m = block.stackedRows();
        int shift = dOut.offset() - layout.out().offset();
        loadQueries(layout, block);
        multiplyScores(layout, block);
        for (int r = 0; r < m; r++) {
            outputs.put(r * dim, dOut.floats(), layout.outAt(block, r) + shift, dim);
        }
        Matrix probabilities = new Matrix(scores, 0, n);
        Matrix dScores = new Matrix(scoreGradients, 0, n);
        Matrix dOutputs = new Matrix(outputs, 0, dim);
        Sgemm.multiply(Order.PLAIN, Order.TRANSPOSED, m, n, dim, 1f, dOutputs, keys.values(layout, block), 0f, dScores);
        for (int r = 0; r < m; r++) {
            differentiateRow(layout, block, r, dOut);
        }
        Matrix dValues = keys.valueGradients(layout, block);
        Matrix dKeys = keys.keyGradients(layout, block);
        Matrix stacked = new Matrix(queries, 0, dim);
        Sgemm.multiply(Order.TRANSPOSED, Order.PLAIN, n, dim, m, 1f, probabilities, dOutputs, 1f, dValues);
        Sgemm.multiply(Order.TRANSPOSED, Order.PLAIN, n, dim, m, 1f, dScores, stacked, 1f, dKeys);
        // The queries have done their part: their memory takes their gradient.
        int toGradient = gradient.offset() - layout.qkv().offset();
        for (int r = 0; adding && r < m; r++) {
            queries.put(r * dim, gradient.floats(), layout.queryAt(block, r) + toGradient, dim);
        }
        float kept = adding ? 1f : 0f;
        Sgemm.multiply(Order.PLAIN, Order.PLAIN, m, dim, n, 1f, dScores, keys.keys(layout, block), kept, stacked);
        for (int r = 0; r < m; r++) {
            queries.get(r * dim, gradient.floats(), layout.queryAt(block, r) + toGradient, dim);
        }
    }

    /** Row r: scores become probabilities, their gradients become those of the scores; zero where masked. */
    private void differentiateRow(AttentionLayout layout, AttentionLayout.Block block, int r, CpuTensor dOut) {
        int n = block.keyCount();
        int begin = layout.beginOf(block, r);
        int end = layout.endOf(block, r);
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

    @Override
    public void close() {
        queries.close();
        scores.close();
        outputs.close();
        scoreGradients.close();
    }
}
