package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code fp8_quantize.cu}: E4M3 operands with one factor per matrix or group (current scaling), codes and
 * factors bit-equal to the CPU oracle. Grouped operands become bytes for the FP8 tensor cores of Hopper where their sizes
 * allow it; all others become the codes as BF16, which are exact, for the BF16 products.
 */
final class Fp8Quantizer {
    /** Codes as BF16 in the source's layout, and FP32 [groups] factors. */
    private record Values(CudaTensor codes, CudaTensor scale) {}

    private static final String FILE = "fp8_quantize";
    private static final int BLOCK = 256;
    private static final int WARPS = 8;
    private static final int AMAX_ROWS = 32;
    private static final int BLOCK_ROWS = 128;
    private static final int BLOCK_COLS = 64;
    private static final int STARTS_THREADS = 1024;
    /** Rows of codes are whole 16-byte units. */
    private static final int UNIT = 16;

    private final CudaRuntime cuda;
    private final boolean hopper;

    Fp8Quantizer(CudaRuntime cuda) {
        this.cuda = cuda;
        hopper = cuda.device().architecture() == 90;
    }

    /** What one call works on: x [groups.totalRows, cols]. */
    private record Job(CudaTensor x, int cols, RowGroups groups, CudaTensor amax, CudaTensor scale) {
        String suffix() {
            return x.dtype() == DType.FP32 ? "_fp32" : "_bf16";
        }

        Object offsets() {
            return CudaFunction.orNull(groups.offsets());
        }
    }

    /** Writes the codes, given the amax of each group. */
    private interface Encoder {
        void encode(Job job);
    }

    /** x [rows, cols] as the codes in BF16. */
    GemmOperand operand(
            CudaTensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        Values values = values(x, cols, RowGroups.equal(1, rows), probe, exchange, scope);
        return new CudaOperand(
                spec, byColumns ? cols : rows, byColumns ? rows : cols, values.codes, byColumns, values.scale);
    }

    /** The codes of x [groups.totalRows, cols] as BF16 values. */
    private Values values(
            CudaTensor x,
            int cols,
            RowGroups groups,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        CudaTensor values = CudaTensor.of(scope.allocate(DType.BF16, Shape.of(groups.totalRows(), cols)));
        return new Values(
                values,
                quantize(x, cols, groups, probe, exchange, scope, job -> launchRows("fp8_values", job, values)));
    }

    /** Weights [groups, rows, cols]; as bytes, they are transposed when read by columns. */
    GroupedOperand stacked(
            CudaTensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        int groups = x.dim(0);
        int rows = x.dim(1);
        int cols = x.dim(2);
        RowGroups split = RowGroups.equal(groups, rows);
        if (!takesBytes(x, cols) || rows % UNIT != 0) {
            Values values = values(x, cols, split, probe, exchange, scope);
            return plain(
                    Layout.STACKED, spec, values, byColumns ? cols : rows, byColumns ? rows : cols, byColumns, split);
        }
        CudaTensor codes = Fp8Layouts.bytes(scope, (long) groups * rows * cols);
        CudaTensor scale = quantize(x, cols, split, probe, exchange, scope, job -> {
            if (byColumns) {
                int blocks = groups * ceil(rows, BLOCK_ROWS);
                launchColumns(job, CudaFunction.NULL, blocks, codes, rows);
            } else {
                launchRows("fp8_rows", job, codes);
            }
        });
        return Fp8Layouts.stacked(spec, groups, codes, byColumns ? cols : rows, byColumns ? rows : cols, scale);
    }

    /** Tokens x [R, cols], split by offsets. */
    GroupedOperand ragged(
            CudaTensor x,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        if (!takesBytes(x, cols) || rows == 0 || groups.count() > STARTS_THREADS) {
            Values values = values(x, cols, groups, probe, exchange, scope);
            return byColumns
                    ? plain(Layout.RAGGED_DEPTH, spec, values, cols, 0, true, groups)
                    : plain(Layout.RAGGED_ROWS, spec, values, 0, cols, false, groups);
        }
        if (!byColumns) {
            CudaTensor codes = Fp8Layouts.bytes(scope, (long) rows * cols);
            CudaTensor scale =
                    quantize(x, cols, groups, probe, exchange, scope, job -> launchRows("fp8_rows", job, codes));
            return new CudaFp8GroupedOperand(
                    Layout.RAGGED_ROWS,
                    spec,
                    groups.count(),
                    codes,
                    rows,
                    0,
                    cols,
                    cols,
                    groups.offsets(),
                    null,
                    scale);
        }
        // Every group may need up to 127 rows of padding.
        int stride = ceil(Math.addExact(rows, Math.multiplyExact(BLOCK_ROWS, groups.count())), BLOCK_ROWS) * BLOCK_ROWS;
        CudaTensor codes = Fp8Layouts.bytes(scope, (long) cols * stride);
        CudaTensor starts = CudaTensor.of(scope.allocate(DType.INT32, groups.count() + 1));
        CudaTensor scale = quantize(x, cols, groups, probe, exchange, scope, job -> {
            cuda.function(FILE, "fp8_starts").launchLine(1, STARTS_THREADS, job.offsets(), groups.count(), starts);
            launchColumns(job, starts, stride / BLOCK_ROWS, codes, stride);
        });
        return new CudaFp8GroupedOperand(
                Layout.RAGGED_DEPTH,
                spec,
                groups.count(),
                codes,
                rows,
                cols,
                0,
                stride,
                groups.offsets(),
                starts,
                scale);
    }

    /** Finds the amax of each group, encodes, gathers statistics where asked; returns the factors FP32 [groups]. */
    private CudaTensor quantize(
            CudaTensor x,
            int cols,
            RowGroups groups,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope,
            Encoder encoder) {
        CudaTensor scale = CudaTensor.of(scope.allocate(DType.FP32, groups.count()));
        try (CudaTensorScope work = cuda.workspace()) {
            Job job = new Job(x, cols, groups, work.zeros(DType.FP32, groups.count()), scale);
            cuda.function("nvfp4_emulate", "group_amax" + job.suffix())
                    .launchLine(
                            ceil(groups.totalRows(), AMAX_ROWS),
                            BLOCK,
                            x,
                            groups.totalRows(),
                            cols,
                            job.offsets(),
                            CudaFunction.NULL,
                            groups.count(),
                            groups.rows(),
                            job.amax);
            if (exchange != null) {
                exchange.largest(job.amax);
            }
            encoder.encode(job);
            if (probe != null) {
                CudaTensor sums = QuantSums.zeros(work);
                cuda.function(FILE, "fp8_measure" + job.suffix())
                        .launchLine(
                                ceil(groups.totalRows(), WARPS),
                                BLOCK,
                                x,
                                groups.totalRows(),
                                cols,
                                job.offsets(),
                                groups.count(),
                                groups.rows(),
                                job.amax,
                                sums);
                probe.record(QuantSums.read(cuda.memory(), sums, job.amax, groups.count()));
            }
        }
        return scale;
    }

    private void launchRows(String kernel, Job job, CudaTensor out) {
        RowGroups groups = job.groups;
        cuda.function(FILE, kernel + job.suffix())
                .launchLine(
                        Math.max(1, ceil(groups.totalRows(), WARPS)), // the first block writes the factors
                        BLOCK,
                        job.x,
                        groups.totalRows(),
                        job.cols,
                        job.offsets(),
                        groups.count(),
                        groups.rows(),
                        job.amax,
                        job.scale,
                        out);
    }

    private void launchColumns(Job job, Object starts, int blocks, CudaTensor out, int stride) {
        cuda.function(FILE, "fp8_columns" + job.suffix())
                .launch(
                        blocks,
                        ceil(job.cols, BLOCK_COLS),
                        1,
                        BLOCK,
                        0,
                        job.x,
                        job.cols,
                        job.offsets(),
                        starts,
                        job.groups.count(),
                        job.groups.rows(),
                        job.amax,
                        job.scale,
                        out,
                        stride);
    }

    private boolean takesBytes(CudaTensor x, int cols) {
        return hopper && cols % UNIT == 0 && x.elements() > 0 && x.address() % UNIT == 0;
    }

    private static CudaGroupedOperand plain(
            Layout layout, OperandSpec spec, Values values, int width, int depth, boolean byColumns, RowGroups groups) {
        return new CudaGroupedOperand(
                layout,
                spec,
                groups.count(),
                values.codes,
                width,
                depth,
                byColumns,
                groups.offsets(),
                false,
                values.scale);
    }

    private static int ceil(int size, int unit) {
        return (size + unit - 1) / unit;
    }
}
