package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/**
 * AdamW with clipping over FP32 parameters. Bytes of a parameter: the norm reads its gradient (4); the update reads
 * weight, gradient and two moments and writes weight, moments and the BF16 weight (30).
 */
final class OptimizerOperations {
    private static final AdamWStep STEP = new AdamWStep(3, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1f);
    private static final double CLIP = 1;
    private static final double BOUND = 1e-5;
    private static final int SAMPLES = 256;

    private final OperationRunner runner;
    private final Backend backend;

    OptimizerOperations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    void measure(int n) {
        try (TensorScope scope = backend.scope(Region.OPTIMIZER)) {
            RandomData grad = RandomData.normal(backend, scope, runner.random(), DType.FP32, 0.01, n);
            String shape = n + " parameters";
            Tensor sum = scope.allocate(DType.FP32, 1);
            double squares = squares(grad, n);
            runner.measure(
                    "squared norm fp32",
                    shape,
                    Cost.bytes(4.0 * n),
                    BOUND,
                    List.of(sum),
                    () -> addSquares(grad.tensor(), sum),
                    () -> Math.abs(backend.download(sum)[0] - squares) / squares);
            update(grad, sum, squares, scope, shape);
        }
    }

    private void update(RandomData grad, Tensor sum, double squares, TensorScope scope, String shape) {
        int n = grad.tensor().dim(0);
        RandomData weight = RandomData.normal(backend, scope, runner.random(), DType.FP32, 0.02, n);
        RandomData first = RandomData.normal(backend, scope, runner.random(), DType.FP32, 0.001, n);
        RandomData second = RandomData.positive(backend, scope, runner.random(), DType.FP32, 1e-6, n);
        Tensor rounded = scope.allocate(DType.BF16, n);
        double scale = CLIP / Math.sqrt(squares);
        runner.measure(
                "adamw",
                shape,
                Cost.bytes(30.0 * n),
                BOUND,
                List.of(rounded),
                () -> update(grad, weight, first, second, rounded, 1),
                () -> check(grad, weight, first, second, rounded, 1));
        weight.fill(backend);
        first.fill(backend);
        second.fill(backend);
        runner.measure(
                "norm, clipping, adamw",
                shape,
                Cost.bytes(34.0 * n),
                BOUND,
                List.of(rounded),
                () -> update(grad, weight, first, second, rounded, clippingScale(grad.tensor(), sum)),
                () -> check(grad, weight, first, second, rounded, scale));
    }

    private void addSquares(Tensor values, Tensor sum) {
        backend.elementwise().fill(sum, 0f);
        backend.optimizer().addSquaredNorm(values, sum);
    }

    /** The host waits for the norm here, as the trainer does. */
    private double clippingScale(Tensor values, Tensor sum) {
        addSquares(values, sum);
        return CLIP / Math.sqrt(backend.download(sum)[0]);
    }

    private void update(
            RandomData grad, RandomData weight, RandomData first, RandomData second, Tensor rounded, double scale) {
        AdamWStep step = new AdamWStep(
                STEP.step(),
                STEP.learningRate(),
                STEP.beta1(),
                STEP.beta2(),
                STEP.epsilon(),
                STEP.weightDecay(),
                (float) scale);
        backend.optimizer().adamW(weight.tensor(), grad.tensor(), first.tensor(), second.tensor(), rounded, step);
    }

    private static double squares(RandomData values, int n) {
        double sum = 0;
        for (int at = 0; at < n; at += 1 << 20) {
            float[] part = values.slice(at, Math.min(1 << 20, n - at));
            sum += RandomData.dot(part, part);
        }
        return sum;
    }

    /** The formula of the operation in FP64; the BF16 weight must be the rounded FP32 weight. */
    private double check(
            RandomData grad, RandomData weight, RandomData first, RandomData second, Tensor rounded, double scale) {
        ErrorCheck moment1 = new ErrorCheck();
        ErrorCheck moment2 = new ErrorCheck();
        ErrorCheck change = new ErrorCheck();
        int n = weight.tensor().dim(0);
        double correction1 = 1 - Math.pow(STEP.beta1(), STEP.step());
        double correction2 = 1 - Math.pow(STEP.beta2(), STEP.step());
        for (int i = 0; i < SAMPLES; i++) {
            int at = i == 0 ? 0 : i == 1 ? n - 1 : runner.random().nextInt(n);
            double g = grad.at(at) * scale;
            double m = STEP.beta1() * first.at(at) + (1 - STEP.beta1()) * g;
            double v = STEP.beta2() * second.at(at) + (1 - STEP.beta2()) * g * g;
            double direction = m / correction1 / (Math.sqrt(v / correction2) + STEP.epsilon());
            double w = weight.at(at);
            moment1.add(ErrorCheck.element(backend, first.tensor(), at), m);
            moment2.add(ErrorCheck.element(backend, second.tensor(), at), v);
            float updated = ErrorCheck.element(backend, weight.tensor(), at);
            change.add(updated, w - STEP.learningRate() * (direction + STEP.weightDecay() * w));
            change.add(ErrorCheck.element(backend, rounded, at), BFloat16.round(updated));
        }
        return Math.max(change.error(), Math.max(moment1.error(), moment2.error()));
    }
}
