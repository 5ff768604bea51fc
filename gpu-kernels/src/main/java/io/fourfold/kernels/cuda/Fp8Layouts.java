package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;

/** FP8 codes from one layout to another: transposed weights, and back to BF16 where a product has no FP8 kernel. */
final class Fp8Layouts {
    private static final String FILE = "fp8_quantize";
    private static final int BLOCK = 256;
    private static final int WARPS = 8;
    private static final int BLOCK_ROWS = 128;
    private static final int BLOCK_COLS = 64;

    private final CudaRuntime cuda;

    Fp8Layouts(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** The same codes with rows and columns exchanged. */
    CudaFp8GroupedOperand transposed(CudaFp8GroupedOperand operand, OperandSpec spec, TensorScope scope) {
        int rows = operand.width();
        int cols = operand.depth();
        CudaTensor codes = bytes(scope, (long) operand.groups() * rows * cols);
        cuda.function(FILE, "fp8_columns_codes")
                .launch(
                        operand.groups() * ceil(rows, BLOCK_ROWS),
                        ceil(cols, BLOCK_COLS),
                        1,
                        BLOCK,
                        0,
                        operand.codes(),
                        cols,
                        CudaFunction.NULL,
                        CudaFunction.NULL,
                        operand.groups(),
                        rows,
                        CudaFunction.NULL,
                        CudaFunction.NULL,
                        codes,
                        rows);
        return stacked(spec, operand.groups(), codes, cols, rows, operand.scale());
    }

    /** Any grouped operand as one of the BF16 products: bytes become BF16 codes, K contiguous or by columns as they came. */
    GroupedOperand decoded(GroupedOperand operand, CudaTensorScope work) {
        if (!(operand instanceof CudaFp8GroupedOperand fp8)) {
            return operand;
        }
        boolean byColumns = fp8.layout() == Layout.RAGGED_DEPTH;
        int rows = fp8.layout() == Layout.STACKED ? fp8.groups() * fp8.width() : fp8.rows();
        int cols = byColumns ? fp8.width() : fp8.depth();
        CudaTensor values = work.allocate(DType.BF16, Shape.of(rows, cols));
        if (byColumns) {
            cuda.function(FILE, "fp8_decode_columns")
                    .launchLine(
                            ceil(rows, WARPS),
                            BLOCK,
                            fp8.codes(),
                            CudaFunction.orNull(fp8.offsets()),
                            CudaFunction.orNull(fp8.starts()),
                            fp8.groups(),
                            rows,
                            cols,
                            fp8.stride(),
                            values);
        } else {
            int grid = (int) Math.min((values.elements() + BLOCK - 1) / BLOCK, 4096);
            cuda.function(FILE, "fp8_decode_bf16")
                    .launchLine(grid, BLOCK, fp8.codes(), CudaFunction.NULL, values, values.elements());
        }
        return new CudaGroupedOperand(
                fp8.layout(),
                fp8.spec(),
                fp8.groups(),
                values,
                fp8.width(),
                fp8.depth(),
                byColumns,
                fp8.offsets(),
                false,
                fp8.scale());
    }

    /** Weights of one size: codes [groups, width, depth]. */
    static CudaFp8GroupedOperand stacked(
            OperandSpec spec, int groups, CudaTensor codes, int width, int depth, CudaTensor scale) {
        return new CudaFp8GroupedOperand(
                Layout.STACKED, spec, groups, codes, 0, width, depth, depth, null, null, scale);
    }

    /** Uninitialized bytes in INT32 words. */
    static CudaTensor bytes(TensorScope scope, long count) {
        return CudaTensor.of(scope.allocate(DType.INT32, Shape.flat(count / 4)));
    }

    private static int ceil(int size, int unit) {
        return (size + unit - 1) / unit;
    }
}
