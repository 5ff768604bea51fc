package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/** The BF16 products of the experts: FLOPs are 2 R N K over all R rows, however they are split. */
final class GroupedProducts {
    private static final int CHECKED_GROUPS = 4;

    private final OperationRunner runner;
    private final Backend backend;

    GroupedProducts(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    void measure(OperationShape shape) {
        for (boolean even : new boolean[] {true, false}) {
            grouped(shape.name() + "-w13", shape, 2 * shape.width(), shape.hidden(), even);
            grouped(shape.name() + "-w2", shape, shape.hidden(), shape.width(), even);
        }
    }

    private void grouped(String name, OperationShape shape, int n, int k, boolean even) {
        int rows = shape.rows();
        int groups = shape.experts();
        int[] bounds = bounds(rows, groups, even);
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            Tensor offsets = scope.allocate(DType.INT32, groups + 1);
            backend.upload(bounds, offsets);
            RandomData x = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, rows, k);
            RandomData dy = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, rows, n);
            RandomData w = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, groups, n, k);
            Cost cost = Cost.flops(2.0 * rows * n * k);
            String label = String.format("%s %d; %d x %d x %d %s", name, rows, groups, n, k, even ? "even" : "skewed");
            rowProducts(label, cost, bounds, offsets, x, dy, w, scope);
            depthProduct(label, cost, bounds, offsets, x, dy, n, k, scope);
        }
    }

    private void rowProducts(
            String label,
            Cost cost,
            int[] bounds,
            Tensor offsets,
            RandomData x,
            RandomData dy,
            RandomData w,
            TensorScope scope) {
        int n = dy.tensor().dim(1);
        int k = x.tensor().dim(1);
        Tensor y = scope.allocate(DType.BF16, dy.tensor().shape());
        Tensor dx = scope.allocate(DType.BF16, x.tensor().shape());
        GroupedOperand xRows = ragged(x, offsets, false, scope);
        GroupedOperand dyRows = ragged(dy, offsets, false, scope);
        GroupedOperand wRows = backend.quantize().stacked(w.tensor(), false, OperandSpec.BF16, null, scope);
        GroupedOperand wColumns = backend.quantize().stacked(w.tensor(), true, OperandSpec.BF16, null, scope);
        runner.measure(
                "grouped fprop bf16",
                label,
                cost,
                DenseProducts.BF16_BOUND,
                List.of(y),
                () -> backend.gemm().multiplyGrouped(xRows, wRows, y),
                () -> checkRows(
                        y, bounds, (g, i, j) -> ProductCheck.sum(x, (long) i * k, 1, w, ((long) g * n + j) * k, 1, k)));
        runner.measure(
                "grouped dgrad bf16",
                label,
                cost,
                DenseProducts.BF16_BOUND,
                List.of(dx),
                () -> backend.gemm().multiplyGrouped(dyRows, wColumns, dx),
                () -> checkRows(
                        dx, bounds, (g, i, j) -> ProductCheck.sum(dy, (long) i * n, 1, w, (long) g * n * k + j, k, n)));
    }

    private void depthProduct(
            String label,
            Cost cost,
            int[] bounds,
            Tensor offsets,
            RandomData x,
            RandomData dy,
            int n,
            int k,
            TensorScope scope) {
        int groups = bounds.length - 1;
        Tensor dw = scope.allocate(DType.FP32, groups, n, k);
        GroupedOperand xColumns = ragged(x, offsets, true, scope);
        GroupedOperand dyColumns = ragged(dy, offsets, true, scope);
        runner.measure(
                "grouped wgrad fp32",
                label,
                cost,
                DenseProducts.FP32_BOUND,
                List.of(dw),
                () -> backend.gemm().multiplyGroupedDepth(dyColumns, xColumns, dw, false),
                () -> checkDepth(dw, bounds, x, dy, 0));
        backend.elementwise().fill(dw, 1f);
        runner.measure(
                "grouped wgrad fp32 +=",
                label,
                cost,
                DenseProducts.FP32_BOUND,
                List.of(),
                () -> backend.gemm().multiplyGroupedDepth(dyColumns, xColumns, dw, true),
                () -> checkDepth(dw, bounds, x, dy, 1));
    }

    private interface GroupElement {
        double at(int group, int row, int col);
    }

    private double checkRows(Tensor out, int[] bounds, GroupElement want) {
        ProductCheck check = new ProductCheck(backend, runner.random());
        for (int g : checkedGroups(bounds.length - 1)) {
            check.samples(out, bounds[g], bounds[g + 1], (i, j) -> want.at(g, i, j));
        }
        return check.error();
    }

    private double checkDepth(Tensor dw, int[] bounds, RandomData x, RandomData dy, double before) {
        int n = dy.tensor().dim(1);
        int k = x.tensor().dim(1);
        ProductCheck check = new ProductCheck(backend, runner.random());
        for (int g : checkedGroups(bounds.length - 1)) {
            long first = bounds[g];
            int tokens = bounds[g + 1] - bounds[g];
            check.samples(
                    dw,
                    g * n,
                    (g + 1) * n,
                    (i, j) -> before + ProductCheck.sum(dy, first * n + i % n, n, x, first * k + j, k, tokens));
        }
        return check.error();
    }

    /** The first, the last and some between. */
    private int[] checkedGroups(int groups) {
        int count = Math.min(groups, CHECKED_GROUPS);
        int[] chosen = new int[count];
        for (int i = 0; i < count; i++) {
            chosen[i] = i == 0 ? 0 : i == 1 ? groups - 1 : runner.random().nextInt(groups);
        }
        return chosen;
    }

    private GroupedOperand ragged(RandomData x, Tensor offsets, boolean byColumns, TensorScope scope) {
        return backend.quantize().ragged(x.tensor(), offsets, byColumns, OperandSpec.BF16, 0, null, null, scope);
    }

    /** Where each expert's rows start. Skewed: shares are cubes of uniform numbers, so some experts have next to nothing. */
    private int[] bounds(int rows, int groups, boolean even) {
        double[] shares = new double[groups];
        double sum = 0;
        for (int g = 0; g < groups; g++) {
            shares[g] = even ? 1 : Math.pow(runner.random().nextDouble(), 3);
            sum += shares[g];
        }
        int[] bounds = new int[groups + 1];
        double total = 0;
        for (int g = 0; g < groups; g++) {
            total += shares[g];
            bounds[g + 1] = g == groups - 1 ? rows : (int) Math.min(rows, Math.round(total / sum * rows));
        }
        return bounds;
    }
}
