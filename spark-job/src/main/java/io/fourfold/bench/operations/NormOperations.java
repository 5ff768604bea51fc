package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/**
 * RMSNorm over the tokens and SwiGLU over the experts' rows, in BF16. Bytes of an element: RMSNorm reads x and writes y (4),
 * backward reads dy and x and writes dx (6); SwiGLU, by output element, reads gate and up and writes one (6), backward reads
 * dout, gate, up and writes two (10).
 */
final class NormOperations {
    private static final float EPSILON = 1e-5f;
    private static final double BOUND = 6e-3;
    private static final int SAMPLES = 8;

    private final OperationRunner runner;
    private final Backend backend;

    NormOperations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    void measure(OperationShape shape) {
        rmsNorm(shape.name(), shape.tokens(), shape.hidden());
        swiGlu(shape.name(), shape.rows(), shape.width());
    }

    private void rmsNorm(String name, int tokens, int hidden) {
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData x = normal(scope, tokens, hidden);
            RandomData dy = normal(scope, tokens, hidden);
            RandomData weight = RandomData.normal(backend, scope, runner.random(), DType.FP32, 1, hidden);
            Tensor y = scope.allocate(DType.BF16, tokens, hidden);
            Tensor dx = scope.allocate(DType.BF16, tokens, hidden);
            Tensor rstd = scope.allocate(DType.FP32, tokens);
            Tensor dweight = scope.zeros(DType.FP32, hidden);
            double elements = (double) tokens * hidden;
            String label = String.format("%s %d x %d", name, tokens, hidden);
            runner.measure(
                    "rmsnorm forward",
                    label,
                    Cost.bytes(4 * elements),
                    BOUND,
                    List.of(y, rstd),
                    () -> backend.norm().rmsNorm(x.tensor(), weight.tensor(), EPSILON, y, rstd),
                    () -> checkRows(y, row -> normalized(x.row(row), weight.row(0))));
            runner.measure(
                    "rmsnorm backward",
                    label,
                    Cost.bytes(6 * elements),
                    BOUND,
                    List.of(dx),
                    () -> backend.norm()
                            .rmsNormBackward(dy.tensor(), x.tensor(), weight.tensor(), rstd, dx, false, dweight),
                    () -> Math.max(
                            checkRows(dx, row -> normBackward(dy.row(row), x.row(row), weight.row(0))),
                            checkWeight(dweight, dy, x, rstd)));
        }
    }

    private void swiGlu(String name, int rows, int width) {
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData in = normal(scope, rows, 2 * width);
            RandomData dout = normal(scope, rows, width);
            Tensor out = scope.allocate(DType.BF16, rows, width);
            Tensor din = scope.allocate(DType.BF16, rows, 2 * width);
            double elements = (double) rows * width;
            String label = String.format("%s %d x %d", name, rows, width);
            runner.measure(
                    "swiglu forward",
                    label,
                    Cost.bytes(6 * elements),
                    BOUND,
                    List.of(out),
                    () -> backend.moe().activation(Activation.SWIGLU, in.tensor(), null, out),
                    () -> checkRows(out, row -> swiGlu(in.row(row))));
            runner.measure(
                    "swiglu backward",
                    label,
                    Cost.bytes(10 * elements),
                    BOUND,
                    List.of(din),
                    () -> backend.moe()
                            .activationBackward(Activation.SWIGLU, dout.tensor(), in.tensor(), null, din, null),
                    () -> checkRows(din, row -> swiGluBackward(dout.row(row), in.row(row))));
        }
    }

    private RandomData normal(TensorScope scope, int... dims) {
        return RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, dims);
    }

    /** FP64 values of one row. */
    private interface Row {
        double[] of(int row);
    }

    private double checkRows(Tensor out, Row want) {
        ErrorCheck check = new ErrorCheck();
        int rows = out.shape().rows();
        for (int i = 0; i < SAMPLES; i++) {
            int row = i == 0 ? 0 : i == 1 ? rows - 1 : runner.random().nextInt(rows);
            check.add(backend.download(out.rows(row, row + 1)), want.of(row));
            check.endSet();
        }
        return check.error();
    }

    private static double inverse(float[] x) {
        return 1 / Math.sqrt(RandomData.dot(x, x) / x.length + EPSILON);
    }

    private static double[] normalized(float[] x, float[] weight) {
        double rstd = inverse(x);
        double[] y = new double[x.length];
        for (int i = 0; i < y.length; i++) {
            y[i] = x[i] * rstd * weight[i];
        }
        return y;
    }

    /** dx = rstd * (w dy - x rstd^2 mean(w dy x)). */
    private static double[] normBackward(float[] dy, float[] x, float[] weight) {
        double rstd = inverse(x);
        double mean = 0;
        for (int i = 0; i < x.length; i++) {
            mean += (double) weight[i] * dy[i] * x[i] / x.length;
        }
        double[] dx = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            dx[i] = rstd * ((double) weight[i] * dy[i] - x[i] * rstd * rstd * mean);
        }
        return dx;
    }

    /** dweight[c] = sum over rows of dy x rstd, with the rstd of the forward that was just checked. */
    private double checkWeight(Tensor dweight, RandomData dy, RandomData x, Tensor rstd) {
        float[] inverses = backend.download(rstd);
        int hidden = dweight.dim(0);
        ErrorCheck check = new ErrorCheck();
        for (int i = 0; i < SAMPLES; i++) {
            int c = i == 0 ? 0 : i == 1 ? hidden - 1 : runner.random().nextInt(hidden);
            double sum = 0;
            for (int t = 0; t < inverses.length; t++) {
                long at = (long) t * hidden + c;
                sum += dy.at(at) * x.at(at) * inverses[t];
            }
            check.add(ErrorCheck.element(backend, dweight, c), sum);
        }
        return check.error();
    }

    private static double[] swiGlu(float[] in) {
        double[] out = new double[in.length / 2];
        for (int i = 0; i < out.length; i++) {
            out[i] = in[i] / (1 + Math.exp(-in[i])) * in[out.length + i];
        }
        return out;
    }

    private static double[] swiGluBackward(float[] dout, float[] in) {
        int width = dout.length;
        double[] din = new double[2 * width];
        for (int i = 0; i < width; i++) {
            double gate = in[i];
            double sigmoid = 1 / (1 + Math.exp(-gate));
            din[i] = dout[i] * in[width + i] * sigmoid * (1 + gate * (1 - sigmoid));
            din[width + i] = dout[i] * gate * sigmoid;
        }
        return din;
    }
}
