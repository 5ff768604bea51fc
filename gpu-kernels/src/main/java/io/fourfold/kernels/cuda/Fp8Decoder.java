package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * FP8 bytes back to values in the layout of their source, for products without an FP8 kernel and for tests: codes as BF16
 * where one factor belongs to a whole matrix, otherwise code times factor as FP32, as the CPU oracle holds them.
 */
final class Fp8Decoder {
    private static final int BLOCK = 256;

    private final CudaRuntime cuda;

    Fp8Decoder(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** Any dense operand as one of the BF16 and FP32 products. */
    CudaOperand decoded(GemmOperand operand, TensorScope work) {
        if (!(operand instanceof CudaFp8Operand fp8)) {
            return CudaOperand.of(operand);
        }
        int rows = fp8.byColumns() ? fp8.depth() : fp8.rows();
        int cols = fp8.byColumns() ? fp8.rows() : fp8.depth();
        CudaTensor values = values(
                fp8.spec(), fp8.codes(), fp8.scale(), fp8.stride(), fp8.byColumns(), rows, cols, 1, null, null, work);
        return new CudaOperand(
                fp8.spec(), fp8.rows(), fp8.depth(), values, fp8.byColumns(), isWhole(fp8.spec()) ? fp8.scale() : null);
    }

    /** The same for grouped operands. Rows of no group stay as they are. */
    GroupedOperand decoded(GroupedOperand operand, TensorScope work) {
        if (!(operand instanceof CudaFp8GroupedOperand fp8)) {
            return operand;
        }
        int groupRows = fp8.byColumns() ? fp8.depth() : fp8.width();
        boolean stacked = fp8.layout() == Layout.STACKED;
        int rows = stacked ? fp8.groups() * groupRows : fp8.rows();
        int cols = fp8.byColumns() ? fp8.width() : fp8.depth();
        CudaTensor starts = fp8.starts();
        if (!stacked && starts == null) {
            starts = CudaTensor.of(work.allocate(DType.INT32, fp8.groups() + 1));
            cuda.function("fp8_quantize", "fp8_starts")
                    .launchLine(
                            1,
                            Fp8Encoder.STARTS_THREADS,
                            CudaFunction.orNull(fp8.offsets()),
                            fp8.groups(),
                            starts,
                            CudaFunction.NULL);
        }
        CudaTensor values = values(
                fp8.spec(),
                fp8.codes(),
                fp8.scale(),
                fp8.stride(),
                fp8.byColumns(),
                rows,
                cols,
                fp8.groups(),
                fp8.offsets(),
                starts,
                work);
        return new CudaGroupedOperand(
                fp8.layout(),
                fp8.spec(),
                fp8.groups(),
                values,
                fp8.width(),
                fp8.depth(),
                fp8.byColumns(),
                fp8.offsets(),
                false,
                isWhole(fp8.spec()) ? fp8.scale() : null);
    }

    private CudaTensor values(
            OperandSpec spec,
            CudaTensor codes,
            CudaTensor scale,
            int stride,
            boolean byColumns,
            int rows,
            int cols,
            int groups,
            @Nullable CudaTensor offsets,
            @Nullable CudaTensor starts,
            TensorScope work) {
        CudaTensor values = CudaTensor.of(work.allocate(isWhole(spec) ? DType.BF16 : DType.FP32, Shape.of(rows, cols)));
        int groupRows = offsets == null ? rows / groups : 0;
        int tiles =
                offsets == null ? groups * Fp8Source.ceil(groupRows, Fp8Source.TILE) : rows / Fp8Source.TILE + groups;
        cuda.function("fp8_values", "fp8_decode_" + Fp8Encoder.scaling(spec) + (byColumns ? "_columns" : "_rows"))
                .launch(
                        tiles,
                        Fp8Source.ceil(cols, Fp8Source.TILE),
                        1,
                        BLOCK,
                        0,
                        codes,
                        scale,
                        rows,
                        stride,
                        cols,
                        CudaFunction.orNull(offsets),
                        CudaFunction.orNull(starts),
                        groups,
                        groupRows,
                        values);
        return values;
    }

    private static boolean isWhole(OperandSpec spec) {
        return spec.blocks() == Blocks.TENSOR;
    }
}
