package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code mxfp4_emulate.cu}: MXFP4 values as BF16, bit-equal to the CPU oracle. Blocks have scales of their own
 * only, so nothing is known about the whole tensor and parts of split tensors exchange nothing.
 */
final class Mxfp4Emulation {
    private static final String FILE = "mxfp4_emulate";
    private static final int THREADS = 256;
    private static final int WARPS = 8;
    private static final int BLOCK = 32;
    private static final int STRIP = 512;
    private static final int AMAX_ROWS = 32;
    private static final int MAX_GROUPS = 1024;

    private final CudaRuntime cuda;

    Mxfp4Emulation(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** x [rows, cols] in one piece. */
    GemmOperand operand(
            CudaTensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            TensorScope scope) {
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        CudaTensor values = quantize(x, cols, RowGroups.equal(1, rows), byColumns, spec, random, 0, probe, scope);
        return new CudaOperand(spec, byColumns ? cols : rows, byColumns ? rows : cols, values, byColumns, null);
    }

    /** Weights [groups, rows, cols]. */
    GroupedOperand stacked(
            CudaTensor x, boolean byColumns, OperandSpec spec, @Nullable QuantProbe probe, TensorScope scope) {
        int groups = x.dim(0);
        int rows = x.dim(1);
        int cols = x.dim(2);
        CudaTensor values = quantize(x, cols, RowGroups.equal(groups, rows), byColumns, spec, null, 0, probe, scope);
        return new CudaGroupedOperand(
                Layout.STACKED,
                spec,
                groups,
                values,
                byColumns ? cols : rows,
                byColumns ? rows : cols,
                byColumns,
                null,
                false,
                null);
    }

    /** Tokens x [R, cols], split by offsets. */
    GroupedOperand ragged(
            CudaTensor x,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            int firstGroup,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            TensorScope scope) {
        int cols = x.shape().cols();
        CudaTensor values = quantize(x, cols, groups, byColumns, spec, random, firstGroup, probe, scope);
        return new CudaGroupedOperand(
                byColumns ? Layout.RAGGED_DEPTH : Layout.RAGGED_ROWS,
                spec,
                groups.count(),
                values,
                byColumns ? cols : 0,
                byColumns ? 0 : cols,
                byColumns,
                groups.offsets(),
                false,
                null);
    }

    /** What one call works on. */
    private record Job(
            CudaTensor x,
            int cols,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            int firstGroup,
            CudaTensor values) {

        String suffix() {
            return x.dtype() == DType.FP32 ? "_fp32" : "_bf16";
        }

        boolean stochastic() {
            return spec.rounding() == Rounding.STOCHASTIC;
        }
    }

    /** The values of x [groups.totalRows, cols], in its layout. */
    private CudaTensor quantize(
            CudaTensor x,
            int cols,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            int firstGroup,
            @Nullable QuantProbe probe,
            TensorScope scope) {
        if (spec.hadamard()) {
            throw new UnsupportedOperationException(
                    "the CUDA backend has no Hadamard transform before MXFP4 (no recipe asks for it): " + spec);
        }
        CudaTensor values = CudaTensor.of(scope.allocate(DType.BF16, Shape.of(groups.totalRows(), cols)));
        Job job = new Job(x, cols, groups, byColumns, spec, random, firstGroup, values);
        try (CudaTensorScope work = cuda.workspace()) {
            if (probe == null) {
                emulate(job, job.stochastic() ? "_sr" : "", CudaFunction.NULL, work);
            } else {
                CudaTensor sums = QuantSums.zeros(work);
                emulate(job, "_measured", sums, work);
                probe.record(QuantSums.read(cuda.memory(), sums, amax(job, work), 0));
            }
        }
        return values;
    }

    private void emulate(Job job, String rounding, Object sums, CudaTensorScope work) {
        RandomStream random = job.random;
        RowGroups groups = job.groups;
        long seed = random == null ? 0 : random.seed();
        int step = random == null ? 0 : random.step();
        int tensorId = random == null ? 0 : random.tensorId() + job.firstGroup;
        Object rowIds = random == null || random.rowIds() == null ? CudaFunction.NULL : CudaTensor.of(random.rowIds());
        Object columnGroups = Nvfp4Emulation.columnGroups(random, job.cols);
        int stochastic = job.stochastic() ? 1 : 0;
        Object offsets = CudaFunction.orNull(groups.offsets());
        if (!job.byColumns) {
            cuda.function(FILE, "mxfp4_rows" + rounding + job.suffix())
                    .launchLine(
                            blocks(groups.totalRows(), WARPS),
                            THREADS,
                            job.x,
                            groups.totalRows(),
                            job.cols,
                            offsets,
                            groups.count(),
                            groups.rows(),
                            stochastic,
                            seed,
                            step,
                            tensorId,
                            rowIds,
                            columnGroups,
                            job.values,
                            sums);
            return;
        }
        cuda.function(FILE, "mxfp4_columns" + rounding + job.suffix())
                .launch(
                        blocks(maxBlocks(groups), WARPS),
                        blocks(job.cols, STRIP),
                        1,
                        THREADS,
                        0,
                        job.x,
                        job.cols,
                        offsets,
                        blockStarts(groups, work),
                        groups.count(),
                        groups.rows(),
                        stochastic,
                        seed,
                        step,
                        tensorId,
                        rowIds,
                        columnGroups,
                        job.values,
                        sums);
    }

    /** Blocks of 32 rows before each ragged group, counted on the device; null for equal groups. */
    private Object blockStarts(RowGroups groups, CudaTensorScope work) {
        CudaTensor offsets = groups.offsets();
        if (offsets == null) {
            return CudaFunction.NULL;
        }
        CudaArguments.require(
                groups.count() <= MAX_GROUPS, "at most " + MAX_GROUPS + " experts per rank, got " + groups.count());
        CudaTensor starts = work.allocate(DType.INT32, groups.count() + 1);
        cuda.function(FILE, "mxfp4_blocks").launchLine(1, MAX_GROUPS, offsets, groups.count(), starts);
        return starts;
    }

    /** Blocks of 32 rows at most; each group's last one may be short. */
    private static int maxBlocks(RowGroups groups) {
        return groups.offsets() == null
                ? groups.count() * blocks(groups.rows(), BLOCK)
                : groups.totalRows() / BLOCK + groups.count();
    }

    private CudaTensor amax(Job job, CudaTensorScope work) {
        RowGroups groups = job.groups;
        CudaTensor amax = work.zeros(DType.FP32, groups.count());
        cuda.function("nvfp4_emulate", "group_amax" + job.suffix())
                .launchLine(
                        blocks(groups.totalRows(), AMAX_ROWS),
                        THREADS,
                        job.x,
                        groups.totalRows(),
                        job.cols,
                        CudaFunction.orNull(groups.offsets()),
                        CudaFunction.NULL,
                        groups.count(),
                        groups.rows(),
                        amax);
        return amax;
    }
}
