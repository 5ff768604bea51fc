package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/** Dense BF16 products: FLOPs are 2 M N K. */
final class DenseProducts {
    /** Relative error of FP32 sums rounded to BF16: at most 2^-8 an element. */
    static final double BF16_BOUND = 4e-3;

    /** Of FP32 sums of up to 2^17 products on tensor cores. */
    static final double FP32_BOUND = 1e-3;

    private final OperationRunner runner;
    private final Backend backend;

    DenseProducts(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    /** The projection of queries, keys and values; with M also a cube of 8192. */
    void measure(OperationShape shape) {
        int width = (shape.heads() + 2 * shape.kvHeads()) * shape.headDim();
        dense(shape.name() + "-qkv", shape.tokens(), width, shape.hidden());
        if (shape.name().equals("M")) {
            dense("cube", 8192, 8192, 8192);
        }
    }

    private void dense(String name, int m, int n, int k) {
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData x = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, m, k);
            RandomData w = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, n, k);
            RandomData dy = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, m, n);
            Tensor y = scope.allocate(DType.BF16, m, n);
            Tensor dx = scope.allocate(DType.BF16, m, k);
            Tensor dw = scope.allocate(DType.FP32, n, k);
            Cost cost = Cost.flops(2.0 * m * n * k);
            String label = String.format("%s %d x %d x %d", name, m, n, k);
            runner.measure(
                    "gemm fprop bf16",
                    label,
                    cost,
                    BF16_BOUND,
                    List.of(y),
                    () -> backend.gemm().multiply(plain(x, false, scope), plain(w, false, scope), y, false),
                    () -> check(y, (i, j) -> ProductCheck.sum(x, (long) i * k, 1, w, (long) j * k, 1, k)));
            runner.measure(
                    "gemm dgrad bf16",
                    label,
                    cost,
                    BF16_BOUND,
                    List.of(dx),
                    () -> backend.gemm().multiply(plain(dy, false, scope), plain(w, true, scope), dx, false),
                    () -> check(dx, (i, j) -> ProductCheck.sum(dy, (long) i * n, 1, w, j, k, n)));
            runner.measure(
                    "gemm wgrad fp32",
                    label,
                    cost,
                    FP32_BOUND,
                    List.of(dw),
                    () -> backend.gemm().multiply(plain(dy, true, scope), plain(x, true, scope), dw, false),
                    () -> check(dw, (i, j) -> ProductCheck.sum(dy, i, n, x, j, k, m)));
        }
    }

    private double check(Tensor out, ProductCheck.Element want) {
        return new ProductCheck(backend, runner.random())
                .samples(out, 0, out.shape().rows(), want)
                .error();
    }

    private GemmOperand plain(RandomData x, boolean byColumns, TensorScope scope) {
        return backend.quantize().operand(x.tensor(), byColumns, OperandSpec.BF16, null, null, scope);
    }
}
