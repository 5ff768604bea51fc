package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.quant.Nvfp4Layout;
import io.fourfold.kernels.quant.ScaleSwizzle;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code nvfp4_codes.cu}: NVFP4 operands as FP4 tensor cores read them, for GPUs of compute capability 10.0 and
 * later. The bytes are tested against the CPU oracle on Hopper, where these kernels run too; products of them have not been
 * run, for want of such a GPU.
 */
final class Nvfp4Encoder {
    /** Features come in multiples of this, so that rows of results are whole 16-byte units. */
    static final int FEATURE_UNIT = 16;

    private static final String FILE = "nvfp4_codes";
    private static final int BLOCK = 256;
    private static final int WARPS = 8;
    private static final int STRIP = 32;

    private final CudaRuntime cuda;
    private final Nvfp4Emulation emulation;

    Nvfp4Encoder(CudaRuntime cuda, Nvfp4Emulation emulation) {
        this.cuda = cuda;
        this.emulation = emulation;
    }

    /** Whether the GPU multiplies FP4. */
    static boolean isFor(CudaDevice device) {
        return device.architecture() >= 100;
    }

    CudaFp4Operand operand(
            CudaTensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        int depth = byColumns ? padded(rows, spec) : cols;
        int extent = byColumns ? cols : rows;
        CudaTensor codes = zeroBytes(Nvfp4Layout.codeBytes(extent, depth), scope);
        CudaTensor scales = zeroBytes(Nvfp4Layout.scaleBytes(extent, depth), scope);
        int id = random == null ? 0 : random.tensorId();
        CudaTensor scale = encode(
                x, cols, RowGroups.equal(1, rows), byColumns, spec, random, id, probe, exchange, codes, scales, scope);
        return new CudaFp4Operand(spec, extent, depth, codes, scales, scale);
    }

    CudaFp4GroupedOperand stacked(
            CudaTensor weights,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        int groups = weights.dim(0);
        int rows = weights.dim(1);
        int cols = weights.dim(2);
        int depth = byColumns ? padded(rows, spec) : cols;
        int extent = byColumns ? cols : rows;
        CudaTensor codes = zeroBytes(groups * Nvfp4Layout.codeBytes(extent, depth), scope);
        CudaTensor scales = zeroBytes(groups * Nvfp4Layout.scaleBytes(extent, depth), scope);
        CudaTensor scale = encode(
                weights,
                cols,
                RowGroups.equal(groups, rows),
                byColumns,
                spec,
                null,
                0,
                probe,
                exchange,
                codes,
                scales,
                scope);
        return new CudaFp4GroupedOperand(Layout.STACKED, spec, groups, extent, depth, codes, scales, null, scale);
    }

    CudaFp4GroupedOperand ragged(
            CudaTensor x,
            CudaTensor offsets,
            boolean byColumns,
            OperandSpec spec,
            int firstGroup,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        int groups = Math.toIntExact(offsets.elements()) - 1;
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        RowGroups split = RowGroups.ragged(cuda, offsets, groups, rows, true, scope);
        CudaTensor codes = zeroBytes(Nvfp4Layout.mostCodeBytes(rows, groups, cols, byColumns), scope);
        CudaTensor scales = zeroBytes(Nvfp4Layout.mostScaleBytes(rows, groups, cols, byColumns), scope);
        int id = random == null ? 0 : random.tensorId() + firstGroup;
        CudaTensor scale = encode(x, cols, split, byColumns, spec, random, id, probe, exchange, codes, scales, scope);
        return new CudaFp4GroupedOperand(
                byColumns ? Layout.RAGGED_DEPTH : Layout.RAGGED_ROWS,
                spec,
                groups,
                byColumns ? cols : 0,
                byColumns ? 0 : cols,
                codes,
                scales,
                offsets,
                scale);
    }

    private CudaTensor encode(
            CudaTensor x,
            int cols,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            int firstTensorId,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            CudaTensor codes,
            CudaTensor scales,
            TensorScope scope) {
        if (cols % FEATURE_UNIT != 0) {
            throw new IllegalArgumentException("FP4 tensor cores take multiples of " + FEATURE_UNIT
                    + " features, the matrix has " + cols + " columns; use recipe bf16 for such layers");
        }
        if (probe != null) {
            try (CudaTensorScope work = cuda.workspace()) {
                emulation.quantize(x, cols, groups, byColumns, spec, random, firstTensorId, probe, exchange, work);
            }
        }
        CudaTensor scale = CudaTensor.of(scope.allocate(DType.FP32, groups.count()));
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor amax = work.zeros(DType.FP32, groups.count());
            emulation.findAmax(x, groups, spec, amax);
            if (exchange != null) {
                exchange.largest(amax);
            }
            CudaTensor starts = groups.offsets() == null ? null : work.allocate(DType.INT32, groups.count() + 1);
            if (starts != null) {
                int unit = byColumns ? Nvfp4Layout.DEPTH_UNIT : ScaleSwizzle.TILE_ROWS;
                cuda.function(FILE, "nvfp4_group_starts")
                        .launchLine(1, 1, CudaFunction.orNull(groups.offsets()), groups.count(), unit, starts);
            }
            cuda.function(
                            FILE,
                            CudaArguments.kernel(
                                    spec.rounding() == Rounding.STOCHASTIC ? "nvfp4_codes_sr" : "nvfp4_codes", x))
                    .launch(
                            CudaArguments.blocks(groups.maxBlocks(), WARPS),
                            CudaArguments.blocks(cols, STRIP),
                            1,
                            BLOCK,
                            0,
                            x,
                            cols,
                            CudaFunction.orNull(groups.offsets()),
                            CudaFunction.orNull(groups.blocks()),
                            groups.count(),
                            groups.rows(),
                            amax,
                            scale,
                            byColumns ? 1 : 0,
                            spec.hadamard() ? 1 : 0,
                            spec.blocks() == Blocks.B16X16 ? 1 : 0,
                            spec.formula() == ScaleFormula.PAPER ? 1 : 0,
                            random == null ? 0L : random.seed(),
                            random == null ? 0 : random.step(),
                            firstTensorId,
                            random == null || random.rowIds() == null
                                    ? CudaFunction.NULL
                                    : CudaTensor.of(random.rowIds()),
                            Nvfp4Emulation.columnGroups(random, cols),
                            CudaFunction.orNull(starts),
                            codes,
                            scales);
        }
        return scale;
    }

    /** Writes the values of an operand, FP32 [rows, depth]. */
    void dequantize(CudaFp4Operand operand, CudaTensor out) {
        CudaArguments.fp32(out, "out", (long) operand.rows() * operand.depth());
        cuda.function(FILE, "nvfp4_codes_values")
                .launchLine(
                        (int) Math.min(4096, CudaArguments.blocks(out.elements(), BLOCK)),
                        BLOCK,
                        operand.codes(),
                        operand.scales(),
                        operand.scale(),
                        operand.rows(),
                        operand.depth(),
                        out);
    }

    private static int padded(int rows, OperandSpec spec) {
        return spec.hadamard() ? (rows + 15) / 16 * 16 : rows;
    }

    private CudaTensor zeroBytes(long bytes, TensorScope scope) {
        return CudaTensor.of(scope.zeros(DType.INT32, Shape.flat((bytes + 3) / 4)));
    }
}
