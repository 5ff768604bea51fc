package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/**
 * Causal BF16 attention of whole sequences. FLOPs forward: 2 b h s s d, half of the square; backward two and a half times
 * that, for it computes the scores again.
 */
final class AttentionOperations {
    private static final double FORWARD_BOUND = 1e-2;
    private static final double BACKWARD_BOUND = 2e-2;
    private static final int QUERIES = 8;
    private static final int KEYS = 4;
    private static final int ROWS = 256;

    private final OperationRunner runner;
    private final Backend backend;

    AttentionOperations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    /** The shape's own attention; with M and T also one long sequence. */
    void measure(OperationShape shape) {
        attention(shape.name(), shape.batch(), shape.sequence(), shape);
        if (shape.name().equals("M") || shape.tiny()) {
            attention(shape.name() + "-long", 1, shape.tiny() ? 2 * shape.sequence() : 32768, shape);
        }
    }

    private void attention(String name, int batch, int sequence, OperationShape sizes) {
        int dim = sizes.headDim();
        AttentionShape shape =
                new AttentionShape(batch, sequence, sizes.heads(), sizes.kvHeads(), dim, (float) (1 / Math.sqrt(dim)));
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData qkv =
                    RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, shape.tokens(), shape.qkvWidth());
            RandomData dout = RandomData.normal(
                    backend, scope, runner.random(), DType.BF16, 1, shape.tokens(), shape.outputWidth());
            Tensor out = scope.allocate(DType.BF16, shape.tokens(), shape.outputWidth());
            Tensor dqkv = scope.allocate(DType.BF16, shape.tokens(), shape.qkvWidth());
            Tensor logSumExp = scope.allocate(DType.FP32, batch, shape.heads(), sequence);
            Tensor starts = scope.zeros(DType.INT32, shape.tokens());
            AttentionReference reference = new AttentionReference(shape, qkv, dout);
            double flops = 2.0 * batch * shape.heads() * sequence * sequence * dim;
            String label = String.format(
                    "%s b%d s%d h%d kv%d d%d", name, batch, sequence, shape.heads(), shape.kvHeads(), dim);
            runner.measure(
                    "attention forward",
                    label,
                    Cost.flops(flops),
                    FORWARD_BOUND,
                    List.of(out, logSumExp),
                    () -> backend.attention().forward(shape, qkv.tensor(), starts, out, logSumExp),
                    () -> checkForward(shape, reference, out));
            runner.measure(
                    "attention backward",
                    label,
                    Cost.flops(2.5 * flops),
                    BACKWARD_BOUND,
                    List.of(dqkv),
                    () -> backend.attention()
                            .backward(shape, dout.tensor(), qkv.tensor(), starts, out, logSumExp, dqkv),
                    () -> Math.max(
                            checkQueries(shape, reference, dqkv), checkKeys(shape, reference, out, logSumExp, dqkv)));
        }
    }

    private double checkForward(AttentionShape shape, AttentionReference reference, Tensor out) {
        ErrorCheck check = new ErrorCheck();
        for (int i = 0; i < QUERIES; i++) {
            int b = runner.random().nextInt(shape.batch());
            int h = runner.random().nextInt(shape.heads());
            int t = i == 0 ? 0 : i == 1 ? shape.sequence() - 1 : runner.random().nextInt(shape.sequence());
            check.add(head(out, shape, b, t, h), reference.out(b, t, h));
            check.endSet();
        }
        return check.error();
    }

    /** Queries from the second half: those with few keys have gradients that cancel to almost nothing. */
    private double checkQueries(AttentionShape shape, AttentionReference reference, Tensor dqkv) {
        ErrorCheck check = new ErrorCheck();
        int half = shape.sequence() / 2;
        for (int i = 0; i < QUERIES; i++) {
            int b = runner.random().nextInt(shape.batch());
            int h = runner.random().nextInt(shape.heads());
            int t = i == 0 ? shape.sequence() - 1 : half + runner.random().nextInt(half);
            check.add(head(dqkv, shape, b, t, h), reference.dquery(b, t, h));
            check.endSet();
        }
        return check.error();
    }

    /** Keys of the first quarter, which many queries see; outputs and sums of the forward that was just checked. */
    private double checkKeys(
            AttentionShape shape, AttentionReference reference, Tensor out, Tensor logSumExp, Tensor dqkv) {
        ErrorCheck check = new ErrorCheck();
        int group = reference.groupSize();
        for (int i = 0; i < KEYS; i++) {
            int b = runner.random().nextInt(shape.batch());
            int kv = runner.random().nextInt(shape.kvHeads());
            int key = i == 0 ? 0 : runner.random().nextInt(shape.sequence() / 4);
            double[] dk = new double[shape.headDim()];
            double[] dv = new double[shape.headDim()];
            for (int from = key; from < shape.sequence(); from += ROWS) {
                int to = Math.min(shape.sequence(), from + ROWS);
                int row = b * shape.sequence();
                float[] outs = backend.download(out.rows(row + from, row + to));
                for (int h = kv * group; h < (kv + 1) * group; h++) {
                    long first = ((long) b * shape.heads() + h) * shape.sequence() + from;
                    float[] sums = backend.download(logSumExp.view(first, Shape.of(to - from)));
                    for (int t = from; t < to; t++) {
                        double delta = delta(shape, reference.dout(b, t, h), outs, t - from, h);
                        reference.addKeyGradients(b, key, t, h, sums[t - from], delta, dk, dv);
                    }
                }
            }
            check.add(head(dqkv, shape, b, key, shape.heads() + kv), dk);
            check.endSet();
            check.add(head(dqkv, shape, b, key, shape.heads() + shape.kvHeads() + kv), dv);
            check.endSet();
        }
        return check.error();
    }

    private static double delta(AttentionShape shape, float[] dout, float[] outs, int row, int head) {
        double sum = 0;
        int at = row * shape.outputWidth() + head * shape.headDim();
        for (int c = 0; c < dout.length; c++) {
            sum += (double) dout[c] * outs[at + c];
        }
        return sum;
    }

    /** One head of one token. */
    private float[] head(Tensor rows, AttentionShape shape, int batch, int token, int head) {
        long row = (long) batch * shape.sequence() + token;
        long at = row * rows.shape().cols() + (long) head * shape.headDim();
        return backend.download(rows.view(at, Shape.of(shape.headDim())));
    }
}
