package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.quant.Nvfp4Layout;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * Launches of {@code weight_codes.cu}. Where NVFP4 is emulated, codes are decoded to BF16 values once a step, which both
 * operands share; GPUs with FP4 tensor cores get the codes in the order that those read.
 */
final class CudaWeightCodes implements WeightCodeOps, AutoCloseable {
    static final String FILE = "weight_codes";
    private static final int WARPS = 8;
    private static final int BLOCK = 256;
    private static final int COLUMNS = 64;
    private static final int PLACED_COLUMNS = 32;

    /** Codes of matrices that lie one behind the other. */
    private record Coded(CudaTensor words, int matrices, int rows, int cols, CudaTensor amax) {
        int strips() {
            return matrices * (rows / TILE);
        }
    }

    private final CudaRuntime cuda;
    private final MagnitudeRanges ranges;
    private final boolean native4;

    CudaWeightCodes(CudaRuntime cuda) {
        this(cuda, Nvfp4Encoder.isFor(cuda.device()));
    }

    /**
     * @param native4 operands are for FP4 tensor cores
     */
    CudaWeightCodes(CudaRuntime cuda, boolean native4) {
        this.cuda = cuda;
        this.native4 = native4;
        ranges = new MagnitudeRanges(cuda);
    }

    @Override
    public void largest(Tensor values, long[] bounds, int[] places, Tensor largest) {
        require(places.length == bounds.length / 2, places.length + " places of " + bounds.length / 2 + " ranges");
        ranges.find(
                fp32(values, "values", values.elements()),
                bounds,
                places,
                fp32(largest, "largest magnitudes", largest.elements()));
    }

    @Override
    public void encode(Tensor values, int firstRow, int matrixRows, OperandSpec spec, Tensor amax, Tensor words) {
        WeightCodeOps.check(spec);
        int cols = values.dim(1);
        int strips = values.dim(0) / TILE;
        cuda.function(FILE, spec.formula() == ScaleFormula.PAPER ? "encode_weights_paper" : "encode_weights")
                .launch(
                        blocks(strips, WARPS),
                        blocks(cols, COLUMNS),
                        1,
                        BLOCK,
                        0,
                        fp32(values, "values", values.elements()),
                        cols,
                        firstRow,
                        matrixRows,
                        fp32(amax, "amax", amax.elements()),
                        strips,
                        int32(words, "codes", (long) strips * WeightCodeOps.stripWords(cols)));
    }

    @Override
    public OperandPair<GemmOperand> operands(
            Tensor words, int rows, int cols, Tensor amax, OperandCopy byRows, OperandCopy byColumns) {
        Coded coded = coded(words, rows, cols, amax, byRows, byColumns);
        require(coded.matrices == 1, "one matrix has one amax, given " + coded.matrices);
        if (native4) {
            return new OperandPair<>(one(coded, false, byRows), one(coded, true, byColumns));
        }
        CudaTensor scale = scale(coded, byRows.scope());
        CudaTensor values = decoded(coded, byRows.scope(), scale);
        return new OperandPair<>(
                new CudaOperand(byRows.spec(), rows, cols, values, false, scale),
                new CudaOperand(byColumns.spec(), cols, rows, values, true, scale));
    }

    @Override
    public OperandPair<GroupedOperand> stacked(
            Tensor words, int rows, int cols, Tensor amax, OperandCopy byRows, OperandCopy byColumns) {
        Coded coded = coded(words, rows, cols, amax, byRows, byColumns);
        if (native4) {
            return new OperandPair<>(group(coded, false, byRows), group(coded, true, byColumns));
        }
        CudaTensor scale = scale(coded, byRows.scope());
        CudaTensor values = decoded(coded, byRows.scope(), scale);
        return new OperandPair<>(
                grouped(coded, byRows.spec(), values, false, scale),
                grouped(coded, byColumns.spec(), values, true, scale));
    }

    private static Coded coded(
            Tensor words, int rows, int cols, Tensor amax, OperandCopy byRows, OperandCopy byColumns) {
        WeightCodeOps.check(byRows.spec());
        WeightCodeOps.check(byColumns.spec());
        int matrices = Math.toIntExact(amax.elements());
        long size = (long) matrices * (rows / TILE) * WeightCodeOps.stripWords(cols);
        return new Coded(int32(words, "codes", size), matrices, rows, cols, fp32(amax, "amax", matrices));
    }

    private static CudaTensor scale(Coded coded, TensorScope scope) {
        return CudaTensor.of(scope.allocate(DType.FP32, coded.matrices));
    }

    private CudaTensor decoded(Coded coded, TensorScope scope, CudaTensor scale) {
        CudaTensor values =
                CudaTensor.of(scope.allocate(DType.BF16, Shape.of(coded.matrices * coded.rows, coded.cols)));
        cuda.function(FILE, "decode_weights")
                .launch(
                        blocks(coded.strips(), WARPS),
                        blocks(coded.cols, COLUMNS),
                        1,
                        BLOCK,
                        0,
                        coded.words,
                        coded.cols,
                        coded.strips(),
                        coded.amax,
                        coded.matrices,
                        scale,
                        values);
        return values;
    }

    private static CudaGroupedOperand grouped(
            Coded coded, OperandSpec spec, CudaTensor values, boolean byColumns, CudaTensor scale) {
        return new CudaGroupedOperand(
                Layout.STACKED,
                spec,
                coded.matrices,
                values,
                byColumns ? coded.cols : coded.rows,
                byColumns ? coded.rows : coded.cols,
                byColumns,
                null,
                false,
                scale);
    }

    private CudaFp4Operand one(Coded coded, boolean byColumns, OperandCopy copy) {
        CudaFp4GroupedOperand only = group(coded, byColumns, copy);
        return new CudaFp4Operand(only.spec(), only.width(), only.depth(), only.codes(), only.scales(), only.scale());
    }

    private CudaFp4GroupedOperand group(Coded coded, boolean byColumns, OperandCopy copy) {
        int extent = byColumns ? coded.cols : coded.rows;
        int depth = byColumns ? coded.rows : coded.cols;
        CudaTensor codes = zeroBytes(coded.matrices * Nvfp4Layout.codeBytes(extent, depth), copy.scope());
        CudaTensor scales = zeroBytes(coded.matrices * Nvfp4Layout.scaleBytes(extent, depth), copy.scope());
        CudaTensor scale = scale(coded, copy.scope());
        cuda.function(FILE, "place_weights")
                .launch(
                        blocks(coded.strips(), WARPS),
                        blocks(coded.cols, PLACED_COLUMNS),
                        1,
                        BLOCK,
                        0,
                        coded.words,
                        coded.cols,
                        coded.rows,
                        coded.amax,
                        coded.matrices,
                        scale,
                        byColumns ? 1 : 0,
                        codes,
                        scales);
        return new CudaFp4GroupedOperand(
                Layout.STACKED, copy.spec(), coded.matrices, extent, depth, codes, scales, null, scale);
    }

    private static CudaTensor zeroBytes(long bytes, TensorScope scope) {
        return CudaTensor.of(scope.zeros(DType.INT32, Shape.flat((bytes + 3) / 4)));
    }

    @Override
    public void close() {
        ranges.close();
    }
}
