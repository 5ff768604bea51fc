package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.List;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/**
 * NVFP4 and MXFP4 operands of a BF16 matrix. Bytes of an element: two reads (amax, then values) and one write of the rounded
 * values, 2 each; FP32 weights 4 + 4 + 2; MXFP4, which needs no amax of the tensor, reads once. The reference is the CPU backend on 16 rows (columns) with the amax of the whole tensor;
 * all bits must be equal.
 */
final class QuantizeOperations {
    private static final int PART = 16;

    private final OperationRunner runner;
    private final Backend backend;

    QuantizeOperations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    /** Rows and cols are multiples of 16. */
    void measure(int rows, int cols) {
        OperandSpec nvfp4 = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
        OperandSpec stochastic = nvfp4.withRounding(Rounding.STOCHASTIC);
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData x = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, rows, cols);
            quantize("nvfp4 rows", x, false, nvfp4);
            quantize("nvfp4 rows stochastic", x, false, stochastic);
            quantize("nvfp4 columns rht", x, true, nvfp4.withHadamard(true));
            quantize("nvfp4 columns rht stochastic", x, true, stochastic.withHadamard(true));
            pair("nvfp4 rows and columns rht stochastic", x, stochastic, false);
            pair("nvfp4 rows and columns rht, columns kept", x, nvfp4, true);
            OperandSpec mxfp4 = OperandSpec.of(Format.MXFP4, Blocks.B1X32);
            quantize("mxfp4 rows", x, false, mxfp4);
            quantize("mxfp4 rows stochastic", x, false, mxfp4.withRounding(Rounding.STOCHASTIC));
            quantize("mxfp4 columns", x, true, mxfp4);
            quantize("mxfp4 columns stochastic", x, true, mxfp4.withRounding(Rounding.STOCHASTIC));
        }
        try (TensorScope scope = backend.scope(Region.PARAMETERS)) {
            RandomData w = RandomData.normal(backend, scope, runner.random(), DType.FP32, 0.02, rows / 4, cols);
            quantize("nvfp4 16x16 blocks fp32", w, false, OperandSpec.of(Format.NVFP4, Blocks.B16X16));
        }
    }

    private void quantize(String name, RandomData x, boolean byColumns, OperandSpec spec) {
        int rows = x.tensor().dim(0);
        int cols = x.tensor().dim(1);
        RandomStream stream = stream(null, null);
        int reads = spec.format() == Format.MXFP4 ? 1 : 2;
        double bytes = ((double) reads * x.tensor().dtype().bytes() + 2) * rows * cols;
        runner.measure(
                name,
                rows + " x " + cols,
                Cost.bytes(bytes),
                0,
                List.of(),
                () -> {
                    try (TensorScope work = backend.scope(Region.WORKSPACE)) {
                        backend.quantize().operand(x.tensor(), byColumns, spec, stream, null, work);
                    }
                },
                () -> check(
                        x,
                        byColumns,
                        spec,
                        (work, kept) -> backend.quantize().operand(x.tensor(), byColumns, spec, stream, null, work)));
    }

    /** Both operands at once; kept columns are written as codes and scales, 9/16 of a byte an element. */
    private void pair(String name, RandomData x, OperandSpec rows, boolean kept) {
        OperandSpec columns = rows.withHadamard(true);
        RandomStream stream = rows.rounding() == Rounding.STOCHASTIC ? stream(null, null) : null;
        long elements = x.tensor().elements();
        double bytes = (2.0 * x.tensor().dtype().bytes() + 2 + (kept ? 9 / 16.0 : 2)) * elements;
        BiFunction<TensorScope, TensorScope, OperandPair<GemmOperand>> make = (work, backward) -> backend.quantize()
                .operandPair(
                        x.tensor(),
                        new OperandCopy(rows, stream, null, work),
                        new OperandCopy(columns, stream, null, kept ? backward : work),
                        null);
        runner.measure(
                name,
                x.tensor().dim(0) + " x " + x.tensor().dim(1),
                Cost.bytes(bytes),
                0,
                List.of(),
                () -> {
                    try (TensorScope work = backend.scope(Region.WORKSPACE);
                            TensorScope backward = backend.scope(Region.ACTIVATIONS)) {
                        OperandPair<GemmOperand> unused = make.apply(work, backward);
                    }
                },
                () -> Math.max(
                        check(
                                x,
                                false,
                                rows,
                                (work, backward) -> make.apply(work, backward).byRows()),
                        check(
                                x,
                                true,
                                columns,
                                (work, backward) -> make.apply(work, backward).byColumns())));
    }

    private RandomStream stream(@Nullable Tensor rowIds, @Nullable Tensor columns) {
        return new RandomStream(runner.seed(), 1, 5, rowIds, columns);
    }

    /** @param make makes the operand in the workspace or, where it is kept, in the activations */
    private double check(
            RandomData x, boolean byColumns, OperandSpec spec, BiFunction<TensorScope, TensorScope, GemmOperand> make) {
        int rows = x.tensor().dim(0);
        int cols = x.tensor().dim(1);
        try (TensorScope work = backend.scope(Region.WORKSPACE);
                TensorScope kept = backend.scope(Region.ACTIVATIONS)) {
            float[] amax = new float[1];
            backend.quantize()
                    .operand(
                            x.tensor(),
                            byColumns,
                            spec,
                            stream(null, null),
                            null,
                            found -> {
                                amax[0] = backend.download(found)[0];
                            },
                            work);
            GemmOperand operand = make.apply(work, kept);
            int depth = byColumns ? rows : cols;
            Tensor values = work.allocate(DType.FP32, byColumns ? cols : rows, depth);
            backend.elementwise().fill(values, Float.NaN);
            backend.quantize().dequantize(operand, values);
            ErrorCheck check = new ErrorCheck();
            int parts = (byColumns ? cols : rows) / PART;
            for (int part : new int[] {0, runner.random().nextInt(parts), parts - 1}) {
                float[] got = backend.download(values.rows(part * PART, (part + 1) * PART));
                float[] want = reference(x, byColumns, spec, part * PART, amax[0]);
                check.add(got, widened(want));
                check.endSet();
            }
            return check.error();
        }
    }

    private static double[] widened(float[] values) {
        double[] wide = new double[values.length];
        Arrays.setAll(wide, i -> values[i]);
        return wide;
    }

    /** What the CPU backend makes of rows (columns) first, ..., first + 15 of the matrix. */
    private float[] reference(RandomData x, boolean byColumns, OperandSpec spec, int first, float amax) {
        int rows = x.tensor().dim(0);
        int cols = x.tensor().dim(1);
        int partRows = byColumns ? rows : PART;
        int partCols = byColumns ? PART : cols;
        float[] part = new float[partRows * partCols];
        int[] rowIds = new int[partRows];
        for (int r = 0; r < partRows; r++) {
            long from = byColumns ? (long) r * cols + first : (long) (first + r) * cols;
            System.arraycopy(x.slice(from, partCols), 0, part, r * partCols, partCols);
            rowIds[r] = byColumns ? r : first + r;
        }
        int[] columns = new int[partCols / PART];
        Arrays.setAll(columns, i -> byColumns ? first / PART : i);
        try (CpuBackend oracle = new CpuBackend(1);
                TensorScope scope = oracle.scope(Region.WORKSPACE)) {
            Tensor source = scope.allocate(x.tensor().dtype(), partRows, partCols);
            oracle.upload(part, source);
            Tensor ids = scope.allocate(DType.INT32, partRows);
            oracle.upload(rowIds, ids);
            Tensor groups = scope.allocate(DType.INT32, columns.length);
            oracle.upload(columns, groups);
            GemmOperand operand = oracle.quantize()
                    .operand(
                            source,
                            byColumns,
                            spec,
                            stream(ids, groups),
                            null,
                            found -> oracle.upload(new float[] {amax}, found),
                            scope);
            Tensor values = scope.allocate(DType.FP32, byColumns ? PART : partRows, byColumns ? partRows : partCols);
            oracle.quantize().dequantize(operand, values);
            return oracle.download(values);
        }
    }
}
