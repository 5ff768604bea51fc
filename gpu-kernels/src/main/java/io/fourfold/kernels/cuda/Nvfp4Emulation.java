package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.quant.StochasticBits;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code nvfp4_emulate.cu}: NVFP4 values as BF16, bit-equal to the CPU oracle. The tensor amax is found in a
 * first pass over the source; nothing waits for the GPU unless a probe asks for statistics.
 */
final class Nvfp4Emulation {
    /** Values in the source's layout, and FP32 [groups] factors. */
    record Result(CudaTensor values, CudaTensor scale) {}

    private static final String FILE = "nvfp4_emulate";
    private static final int BLOCK = 256;
    private static final int WARPS = 8;
    private static final int AMAX_ROWS = 32;
    private static final int STRIP = 512;

    private final CudaRuntime cuda;

    Nvfp4Emulation(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** What one call works on. */
    private record Job(
            CudaTensor x,
            int cols,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            int firstTensorId,
            CudaTensor amax,
            CudaTensor scale,
            CudaTensor values) {

        boolean alongRows() {
            return !byColumns && spec.blocks() == Blocks.B1X16;
        }

        String suffix() {
            return x.dtype() == DType.FP32 ? "_fp32" : "_bf16";
        }
    }

    /**
     * @param x [rows, cols], the rows divided by {@code groups}
     * @param firstTensorId stream number of group 0
     */
    Result quantize(
            CudaTensor x,
            int cols,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            int firstTensorId,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        if (spec.hadamard() && !byColumns) {
            throw new UnsupportedOperationException("the CUDA backend transforms operands by columns only (the wgrad"
                    + " operands of the recipe), asked for " + spec + " by rows");
        }
        int storedRows = spec.hadamard() ? groups.maxBlocks() * 16 : groups.totalRows();
        CudaTensor values = CudaTensor.of(scope.allocate(DType.BF16, Shape.of(storedRows, cols)));
        CudaTensor scale = CudaTensor.of(scope.allocate(DType.FP32, groups.count()));
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor amax = work.zeros(DType.FP32, groups.count());
            Job job = new Job(x, cols, groups, byColumns, spec, random, firstTensorId, amax, scale, values);
            findAmax(x, groups, spec, amax);
            if (exchange != null) {
                exchange.largest(amax);
            }
            if (probe == null) {
                emulate(job, spec.rounding() == Rounding.STOCHASTIC ? "_sr" : "", CudaFunction.NULL);
            } else {
                CudaTensor sums = QuantSums.zeros(work);
                emulate(job, "_measured", sums);
                probe.record(QuantSums.read(cuda.memory(), sums, amax, 0));
            }
        }
        return new Result(values, scale);
    }

    /** Raises amax [groups] to the largest magnitudes of x, after the transform where the spec has one. */
    void findAmax(CudaTensor x, RowGroups groups, OperandSpec spec, CudaTensor amax) {
        int cols = x.shape().cols();
        String suffix = x.dtype() == DType.FP32 ? "_fp32" : "_bf16";
        if (spec.hadamard()) {
            cuda.function(FILE, "group_amax_hadamard" + suffix)
                    .launch(
                            ceil(groups.maxBlocks(), WARPS),
                            ceil(cols, STRIP),
                            1,
                            BLOCK,
                            0,
                            x,
                            cols,
                            CudaFunction.orNull(groups.offsets()),
                            CudaFunction.orNull(groups.blocks()),
                            groups.count(),
                            groups.rows(),
                            amax);
        } else {
            cuda.function(FILE, "group_amax" + suffix)
                    .launchLine(
                            ceil(groups.totalRows(), AMAX_ROWS),
                            BLOCK,
                            x,
                            groups.totalRows(),
                            cols,
                            CudaFunction.orNull(groups.offsets()),
                            CudaFunction.orNull(groups.blocks()),
                            groups.count(),
                            groups.rows(),
                            amax);
        }
    }

    private void emulate(Job job, String rounding, Object sums) {
        RowGroups groups = job.groups;
        RandomStream random = job.random;
        long seed = random == null ? 0 : random.seed();
        int step = random == null ? 0 : random.step();
        Object rowIds = random == null || random.rowIds() == null ? CudaFunction.NULL : CudaTensor.of(random.rowIds());
        Object columnGroups = columnGroups(random, job.cols);
        int paper = job.spec.formula() == ScaleFormula.PAPER ? 1 : 0;
        int stochastic = job.spec.rounding() == Rounding.STOCHASTIC ? 1 : 0;
        int copy = job.byColumns ? 1 : 0;
        Object offsets = CudaFunction.orNull(groups.offsets());
        Object blocks = CudaFunction.orNull(groups.blocks());
        if (job.alongRows()) {
            cuda.function(FILE, "nvfp4_emulate_rows" + rounding + job.suffix())
                    .launchLine(
                            ceil(groups.totalRows(), WARPS),
                            BLOCK,
                            job.x,
                            groups.totalRows(),
                            job.cols,
                            offsets,
                            blocks,
                            groups.count(),
                            groups.rows(),
                            job.amax,
                            job.scale,
                            paper,
                            stochastic,
                            seed,
                            step,
                            job.firstTensorId,
                            copy,
                            rowIds,
                            columnGroups,
                            job.values,
                            sums);
            return;
        }
        String kind =
                job.spec.blocks() == Blocks.B16X16 ? "tiles" : job.spec.hadamard() ? "columns_hadamard" : "columns";
        cuda.function(FILE, "nvfp4_emulate_" + kind + rounding + job.suffix())
                .launch(
                        ceil(groups.maxBlocks(), WARPS),
                        ceil(job.cols, STRIP),
                        1,
                        BLOCK,
                        0,
                        job.x,
                        job.cols,
                        offsets,
                        blocks,
                        groups.count(),
                        groups.rows(),
                        job.amax,
                        job.scale,
                        paper,
                        stochastic,
                        seed,
                        step,
                        job.firstTensorId,
                        copy,
                        rowIds,
                        columnGroups,
                        job.values,
                        sums);
    }

    /** Places of the column groups of a part of a wider matrix, as a kernel argument. */
    static Object columnGroups(@Nullable RandomStream random, int cols) {
        if (random == null || random.columnGroups() == null) {
            return CudaFunction.NULL;
        }
        CudaTensor groups = CudaTensor.of(random.columnGroups());
        return CudaArguments.int32(groups, "columnGroups", ceil(cols, StochasticBits.GROUP));
    }

    private static int ceil(int size, int unit) {
        return (size + unit - 1) / unit;
    }
}
