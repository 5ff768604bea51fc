package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.numeric.SplitFloat;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Fp32Values;
import java.util.List;

/**
 * AdamW with clipping over FP32 parameters. Bytes of a parameter: the norm reads its gradient (4); the update reads
 * weight, gradient and two moments and writes weight and moments (28). Weights are split into BF16 and a remainder.
 */
final class OptimizerOperations {
    private static final AdamWStep STEP = new AdamWStep(3, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1f);
    private static final double CLIP = 1;
    private static final double BOUND = 1e-5;
    private static final int SAMPLES = 256;

    /** The weights drawn, and where they lie split. */
    private record Weights(RandomData drawn, Tensor head, Tensor remainder) {
        void fill(Backend backend) {
            drawn.fill(backend);
            backend.optimizer().split(drawn.tensor(), head, remainder);
        }
    }

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
        Weights weight = new Weights(
                RandomData.normal(backend, scope, runner.random(), DType.FP32, 0.02, n),
                scope.allocate(DType.BF16, n),
                scope.allocate(DType.INT16, n));
        weight.fill(backend);
        RandomData first = RandomData.normal(backend, scope, runner.random(), DType.FP32, 0.001, n);
        RandomData second = RandomData.positive(backend, scope, runner.random(), DType.FP32, 1e-6, n);
        double scale = CLIP / Math.sqrt(squares);
        runner.measure(
                "adamw",
                shape,
                Cost.bytes(28.0 * n),
                BOUND,
                List.of(),
                () -> update(grad, weight, first, second, 1),
                () -> check(grad, weight, first, second, 1));
        weight.fill(backend);
        first.fill(backend);
        second.fill(backend);
        runner.measure(
                "norm, clipping, adamw",
                shape,
                Cost.bytes(32.0 * n),
                BOUND,
                List.of(),
                () -> update(grad, weight, first, second, clippingScale(grad.tensor(), sum)),
                () -> check(grad, weight, first, second, scale));
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

    private void update(RandomData grad, Weights weight, RandomData first, RandomData second, double scale) {
        AdamWStep step = new AdamWStep(
                STEP.step(),
                STEP.learningRate(),
                STEP.beta1(),
                STEP.beta2(),
                STEP.epsilon(),
                STEP.weightDecay(),
                (float) scale);
        backend.optimizer()
                .adamW(weight.head(), weight.remainder(), grad.tensor(), first.tensor(), second.tensor(), step);
    }

    private static double squares(RandomData values, int n) {
        double sum = 0;
        for (int at = 0; at < n; at += 1 << 20) {
            float[] part = values.slice(at, Math.min(1 << 20, n - at));
            sum += RandomData.dot(part, part);
        }
        return sum;
    }

    /** The formula of the operation in FP64; the BF16 weight must be the head of the FP32 weight. */
    private double check(RandomData grad, Weights weight, RandomData first, RandomData second, double scale) {
        ErrorCheck moment1 = new ErrorCheck();
        ErrorCheck moment2 = new ErrorCheck();
        ErrorCheck change = new ErrorCheck();
        int n = grad.tensor().dim(0);
        double correction1 = 1 - Math.pow(STEP.beta1(), STEP.step());
        double correction2 = 1 - Math.pow(STEP.beta2(), STEP.step());
        for (int i = 0; i < SAMPLES; i++) {
            int at = i == 0 ? 0 : i == 1 ? n - 1 : runner.random().nextInt(n);
            double g = grad.at(at) * scale;
            double m = STEP.beta1() * first.at(at) + (1 - STEP.beta1()) * g;
            double v = STEP.beta2() * second.at(at) + (1 - STEP.beta2()) * g * g;
            double direction = m / correction1 / (Math.sqrt(v / correction2) + STEP.epsilon());
            double w = weight.drawn().at(at);
            moment1.add(ErrorCheck.element(backend, first.tensor(), at), m);
            moment2.add(ErrorCheck.element(backend, second.tensor(), at), v);
            Shape one = Shape.of(1);
            Fp32Values split = new Fp32Values(
                    weight.head().view(at, one), weight.remainder().view(at, one));
            float updated = split.download(backend)[0];
            change.add(updated, w - STEP.learningRate() * (direction + STEP.weightDecay() * w));
            change.add(ErrorCheck.element(backend, weight.head(), at), SplitFloat.head(updated));
        }
        return Math.max(change.error(), Math.max(moment1.error(), moment2.error()));
    }
}
