package io.fourfold.bench.operations;

import io.fourfold.kernels.op.AttentionShape;

/** Single rows of causal attention and its gradients in FP64, for sequences of one document. */
final class AttentionReference {
    private final AttentionShape shape;
    private final RandomData qkv;
    private final RandomData dout;

    AttentionReference(AttentionShape shape, RandomData qkv, RandomData dout) {
        this.shape = shape;
        this.qkv = qkv;
        this.dout = dout;
    }

    /** Row of one head of the packed rows: queries first, then keys, then values. */
    float[] packed(int batch, int token, int head) {
        long row = (long) batch * shape.sequence() + token;
        return qkv.slice(row * shape.qkvWidth() + (long) head * shape.headDim(), shape.headDim());
    }

    float[] key(int batch, int token, int head) {
        return packed(batch, token, shape.heads() + head / groupSize());
    }

    float[] value(int batch, int token, int head) {
        return packed(batch, token, shape.heads() + shape.kvHeads() + head / groupSize());
    }

    float[] dout(int batch, int token, int head) {
        long row = (long) batch * shape.sequence() + token;
        return dout.slice(row * shape.outputWidth() + (long) head * shape.headDim(), shape.headDim());
    }

    int groupSize() {
        return shape.heads() / shape.kvHeads();
    }

    /** Probabilities of tokens 0, ..., query. */
    private double[] probabilities(int batch, int query, int head) {
        float[] q = packed(batch, query, head);
        double[] p = new double[query + 1];
        double largest = Double.NEGATIVE_INFINITY;
        for (int j = 0; j <= query; j++) {
            p[j] = shape.scale() * RandomData.dot(q, key(batch, j, head));
            largest = Math.max(largest, p[j]);
        }
        double sum = 0;
        for (int j = 0; j <= query; j++) {
            p[j] = Math.exp(p[j] - largest);
            sum += p[j];
        }
        for (int j = 0; j <= query; j++) {
            p[j] /= sum;
        }
        return p;
    }

    double[] out(int batch, int query, int head) {
        double[] p = probabilities(batch, query, head);
        double[] out = new double[shape.headDim()];
        for (int j = 0; j <= query; j++) {
            addScaled(p[j], value(batch, j, head), out);
        }
        return out;
    }

    /** dq = scale * sum_j p_j (dout v_j - sum_i p_i dout v_i) k_j. */
    double[] dquery(int batch, int query, int head) {
        double[] p = probabilities(batch, query, head);
        float[] gradient = dout(batch, query, head);
        double[] dp = new double[p.length];
        double mean = 0;
        for (int j = 0; j <= query; j++) {
            dp[j] = RandomData.dot(gradient, value(batch, j, head));
            mean += p[j] * dp[j];
        }
        double[] dq = new double[shape.headDim()];
        for (int j = 0; j <= query; j++) {
            addScaled(shape.scale() * p[j] * (dp[j] - mean), key(batch, j, head), dq);
        }
        return dq;
    }

    /**
     * Adds one query's part to the gradients of a key and its value: dk += scale p (dout v - delta) q, dv += p dout.
     *
     * @param logSumExp of the query's logits
     * @param delta dout * out of the query
     */
    void addKeyGradients(
            int batch, int key, int query, int head, double logSumExp, double delta, double[] dk, double[] dv) {
        float[] q = packed(batch, query, head);
        float[] gradient = dout(batch, query, head);
        double p = Math.exp(shape.scale() * RandomData.dot(q, key(batch, key, head)) - logSumExp);
        double dp = RandomData.dot(gradient, value(batch, key, head));
        addScaled(shape.scale() * p * (dp - delta), q, dk);
        addScaled(p, gradient, dv);
    }

    private static void addScaled(double factor, float[] values, double[] sum) {
        for (int c = 0; c < sum.length; c++) {
            sum[c] += factor * values[c];
        }
    }
}
