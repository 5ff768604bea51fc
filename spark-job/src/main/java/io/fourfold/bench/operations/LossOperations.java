package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/** The head with cross-entropy and all its gradients: FLOPs are three products of 2 T H V; recomputation does not count. */
final class LossOperations {
    private static final double BOUND = 1e-2;
    private static final double WEIGHT_DEVIATION = 0.02;
    private static final int ROWS = 4;

    private final OperationRunner runner;
    private final Backend backend;

    LossOperations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    void measure(OperationShape shape) {
        int tokens = shape.tokens();
        int hidden = shape.hidden();
        int vocabulary = shape.vocabulary();
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData h = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, tokens, hidden);
            RandomData w = RandomData.normal(
                    backend, scope, runner.random(), DType.BF16, WEIGHT_DEVIATION, vocabulary, hidden);
            int[] labels = runner.random().ints(tokens, 0, vocabulary).toArray();
            Tensor label = scope.allocate(DType.INT32, tokens);
            backend.upload(labels, label);
            Tensor loss = scope.allocate(DType.FP32, tokens);
            Tensor dh = scope.allocate(DType.BF16, tokens, hidden);
            Tensor dw = scope.zeros(DType.FP32, vocabulary, hidden);
            float factor = 1f / tokens;
            runner.measure(
                    "head and cross-entropy",
                    String.format("%s %d x %d x %d", shape.name(), tokens, hidden, vocabulary),
                    Cost.flops(6.0 * tokens * hidden * vocabulary),
                    BOUND,
                    List.of(loss, dh),
                    () -> backend.loss().linearCrossEntropy(h.tensor(), w.tensor(), label, factor, loss, dh, dw),
                    () -> Math.max(
                            checkTokens(h, w, labels, loss, dh, factor), checkWeights(h, w, labels, loss, dw, factor)));
        }
    }

    /** dhidden[t] = factor * (sum_v p_v w_v - w_label). */
    private double checkTokens(RandomData h, RandomData w, int[] labels, Tensor loss, Tensor dh, float factor) {
        ErrorCheck losses = new ErrorCheck();
        ErrorCheck gradients = new ErrorCheck();
        int vocabulary = w.tensor().dim(0);
        for (int i = 0; i < ROWS; i++) {
            int t = i == 0 ? 0 : i == 1 ? labels.length - 1 : runner.random().nextInt(labels.length);
            float[] hidden = h.row(t);
            double[] want = new double[hidden.length];
            double sum = 0;
            // Logits are of the order of one, so exponentials need no shift.
            for (int v = 0; v < vocabulary; v++) {
                float[] row = w.row(v);
                double e = Math.exp(RandomData.dot(hidden, row));
                sum += e;
                for (int c = 0; c < want.length; c++) {
                    want[c] += e * row[c];
                }
            }
            float[] correct = w.row(labels[t]);
            for (int c = 0; c < want.length; c++) {
                want[c] = factor * (want[c] / sum - correct[c]);
            }
            gradients.add(backend.download(dh.rows(t, t + 1)), want);
            gradients.endSet();
            losses.add(ErrorCheck.element(backend, loss, t), Math.log(sum) - RandomData.dot(hidden, correct));
        }
        return Math.max(losses.error(), gradients.error());
    }

    /** dweight[v] = factor * sum_t (p_tv - [v is the label]) h_t; the losses, just checked, give the sums of exponentials. */
    private double checkWeights(RandomData h, RandomData w, int[] labels, Tensor loss, Tensor dw, float factor) {
        float[] losses = backend.download(loss);
        double[] logSums = new double[losses.length];
        for (int t = 0; t < losses.length; t++) {
            logSums[t] = losses[t] + RandomData.dot(h.row(t), w.row(labels[t]));
        }
        ErrorCheck check = new ErrorCheck();
        for (int i = 0; i < ROWS; i++) {
            int v = i == 0
                    ? 0
                    : i == 1 ? w.tensor().dim(0) - 1 : labels[runner.random().nextInt(labels.length)];
            float[] row = w.row(v);
            double[] want = new double[row.length];
            for (int t = 0; t < losses.length; t++) {
                float[] hidden = h.row(t);
                double p = Math.exp(RandomData.dot(hidden, row) - logSums[t]) - (labels[t] == v ? 1 : 0);
                for (int c = 0; c < want.length; c++) {
                    want[c] += factor * p * hidden[c];
                }
            }
            check.add(backend.download(dw.rows(v, v + 1)), want);
            check.endSet();
        }
        return check.error();
    }
}
