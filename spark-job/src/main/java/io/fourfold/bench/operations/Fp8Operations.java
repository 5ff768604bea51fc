package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import java.util.Locale;

/**
 * FP8 operands by rows and columns in one call, and the products of linear layers with them, with factors of blocks and of
 * whole tensors. The error is that against the values before quantizing, so its bound is what E4M3 costs (2.6% an operand);
 * the parity tests compare bits. Bytes of quantizing: one read and two codes of a byte, with a factor a tensor one more read.
 */
final class Fp8Operations {
    private static final double OPERAND_BOUND = 0.04;
    private static final double PRODUCT_BOUND = 0.06;

    private record Scaling(String name, OperandSpec tokens, OperandSpec weights) {
        static final List<Scaling> ALL = List.of(
                new Scaling("blocks", spec(Blocks.B1X128), spec(Blocks.B128X128)),
                new Scaling("tensor", spec(Blocks.TENSOR), spec(Blocks.TENSOR)));

        private static OperandSpec spec(Blocks blocks) {
            return OperandSpec.of(Format.FP8_E4M3, blocks);
        }

        boolean whole() {
            return tokens.blocks() == Blocks.TENSOR;
        }
    }

    private final OperationRunner runner;
    private final Backend backend;

    Fp8Operations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    void quantize(int rows, int cols) {
        for (Scaling scaling : Scaling.ALL) {
            pair("fp8 both, " + scaling.name(), DType.BF16, scaling.tokens(), scaling.whole(), rows, cols);
            pair("fp8 both fp32, " + scaling.name(), DType.FP32, scaling.weights(), scaling.whole(), rows / 4, cols);
        }
    }

    private void pair(String name, DType type, OperandSpec spec, boolean whole, int rows, int cols) {
        double bytes = (type.bytes() * (whole ? 2.0 : 1.0) + 2) * rows * cols;
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData x = RandomData.normal(backend, scope, runner.random(), type, 1, rows, cols);
            runner.measure(
                    name,
                    rows + " x " + cols,
                    Cost.bytes(bytes),
                    OPERAND_BOUND,
                    List.of(),
                    () -> {
                        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
                            OperandCopy copy = new OperandCopy(spec, null, null, work);
                            backend.quantize().operandPair(x.tensor(), copy, copy, null);
                        }
                    },
                    () -> checkPair(x, spec, rows, cols));
        }
    }

    private double checkPair(RandomData x, OperandSpec spec, int rows, int cols) {
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            OperandCopy copy = new OperandCopy(spec, null, null, work);
            OperandPair<GemmOperand> both = backend.quantize().operandPair(x.tensor(), copy, copy, null);
            Tensor values = work.allocate(DType.FP32, rows, cols);
            backend.quantize().dequantize(both.byRows(), values);
            double error = samples(values, (i, j) -> x.at((long) i * cols + j));
            Tensor transposed = work.allocate(DType.FP32, cols, rows);
            backend.quantize().dequantize(both.byColumns(), transposed);
            return Math.max(error, samples(transposed, (i, j) -> x.at((long) j * cols + i)));
        }
    }

    private double samples(Tensor out, ProductCheck.Element want) {
        return new ProductCheck(backend, runner.random())
                .samples(out, 0, out.shape().rows(), want)
                .error();
    }

    /** The projection of queries, keys and values. */
    void dense(OperationShape shape) {
        int n = (shape.heads() + 2 * shape.kvHeads()) * shape.headDim();
        int m = shape.tokens();
        int k = shape.hidden();
        String label = String.format(Locale.ROOT, "%s-qkv %d x %d x %d", shape.name(), m, n, k);
        for (Scaling scaling : Scaling.ALL) {
            try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
                RandomData x = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, m, k);
                RandomData w = RandomData.normal(backend, scope, runner.random(), DType.FP32, 1, n, k);
                RandomData dy = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, m, n);
                OperandCopy tokens = new OperandCopy(scaling.tokens(), null, null, scope);
                OperandCopy weights = new OperandCopy(scaling.weights(), null, null, scope);
                OperandPair<GemmOperand> xs = backend.quantize().operandPair(x.tensor(), tokens, tokens, null);
                OperandPair<GemmOperand> dys = backend.quantize().operandPair(dy.tensor(), tokens, tokens, null);
                OperandPair<GemmOperand> ws = backend.quantize().weightPair(w.tensor(), weights, weights, null, null);
                Tensor y = scope.allocate(DType.BF16, m, n);
                Tensor dx = scope.allocate(DType.BF16, m, k);
                Tensor dw = scope.allocate(DType.FP32, n, k);
                measure(
                        "gemm fprop fp8 " + scaling.name(),
                        label,
                        2.0 * m * n * k,
                        y,
                        () -> backend.gemm().multiply(xs.byRows(), ws.byRows(), y, false),
                        (i, j) -> ProductCheck.sum(x, (long) i * k, 1, w, (long) j * k, 1, k));
                measure(
                        "gemm dgrad fp8 " + scaling.name(),
                        label,
                        2.0 * m * n * k,
                        dx,
                        () -> backend.gemm().multiply(dys.byRows(), ws.byColumns(), dx, false),
                        (i, j) -> ProductCheck.sum(dy, (long) i * n, 1, w, j, k, n));
                measure(
                        "gemm wgrad fp8 " + scaling.name(),
                        label,
                        2.0 * m * n * k,
                        dw,
                        () -> backend.gemm().multiply(dys.byColumns(), xs.byColumns(), dw, false),
                        (i, j) -> ProductCheck.sum(dy, i, n, x, j, k, m));
            }
        }
    }

    /** Both layers of the experts, which get equally many rows. */
    void grouped(OperationShape shape) {
        for (Scaling scaling : Scaling.ALL) {
            grouped(shape.name() + "-w13", shape, 2 * shape.width(), shape.hidden(), scaling);
            grouped(shape.name() + "-w2", shape, shape.hidden(), shape.width(), scaling);
        }
    }

    private void grouped(String name, OperationShape shape, int n, int k, Scaling scaling) {
        int rows = shape.rows();
        int groups = shape.experts();
        int each = rows / groups;
        int[] bounds = new int[groups + 1];
        for (int g = 0; g <= groups; g++) {
            bounds[g] = g * each;
        }
        String label = String.format(Locale.ROOT, "%s %d; %d x %d x %d even", name, rows, groups, n, k);
        double flops = 2.0 * rows * n * k;
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            Tensor offsets = scope.allocate(DType.INT32, groups + 1);
            backend.upload(bounds, offsets);
            RandomData x = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, rows, k);
            RandomData dy = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, rows, n);
            RandomData w = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, groups, n, k);
            OperandCopy tokens = new OperandCopy(scaling.tokens(), null, null, scope);
            OperandCopy weights = new OperandCopy(scaling.weights(), null, null, scope);
            OperandPair<GroupedOperand> xs =
                    backend.quantize().raggedPair(x.tensor(), offsets, 0, tokens, tokens, null);
            OperandPair<GroupedOperand> dys =
                    backend.quantize().raggedPair(dy.tensor(), offsets, 0, tokens, tokens, null);
            OperandPair<GroupedOperand> ws = backend.quantize().stackedPair(w.tensor(), weights, weights, null, null);
            Tensor y = scope.allocate(DType.BF16, rows, n);
            Tensor dx = scope.allocate(DType.BF16, rows, k);
            Tensor dw = scope.allocate(DType.FP32, groups, n, k);
            measure(
                    "grouped fprop fp8 " + scaling.name(),
                    label,
                    flops,
                    y,
                    () -> backend.gemm().multiplyGrouped(xs.byRows(), ws.byRows(), y),
                    (i, j) -> ProductCheck.sum(x, (long) i * k, 1, w, ((long) (i / each) * n + j) * k, 1, k));
            measure(
                    "grouped dgrad fp8 " + scaling.name(),
                    label,
                    flops,
                    dx,
                    () -> backend.gemm().multiplyGrouped(dys.byRows(), ws.byColumns(), dx),
                    (i, j) -> ProductCheck.sum(dy, (long) i * n, 1, w, (long) (i / each) * n * k + j, k, n));
            measure(
                    "grouped wgrad fp8 " + scaling.name(),
                    label,
                    flops,
                    dw,
                    () -> backend.gemm().multiplyGroupedDepth(dys.byColumns(), xs.byColumns(), dw, false),
                    (i, j) -> {
                        long first = (long) (i / n) * each;
                        return ProductCheck.sum(dy, first * n + i % n, n, x, first * k + j, k, each);
                    });
        }
    }

    private void measure(
            String name, String label, double flops, Tensor out, Runnable work, ProductCheck.Element want) {
        runner.measure(name, label, Cost.flops(flops), PRODUCT_BOUND, List.of(out), work, () -> samples(out, want));
    }
}
