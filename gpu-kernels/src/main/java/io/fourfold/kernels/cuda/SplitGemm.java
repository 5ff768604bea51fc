package io.fourfold.kernels.cuda;

import io.fourfold.kernels.cuda.CublasLt.Matrix;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;

/**
 * Products with FP32 operands on BF16 tensor cores: an FP32 value is the sum of three BF16 values, products of BF16 values
 * are exact in FP32, and sums are FP32, so the result is as good as an FP32 product (the idea of arXiv:1904.06376). This is
 * for the router, whose weights and logits are FP32 beside BF16 activations; FP32 units would take ten times as long.
 */
final class SplitGemm {
    private static final int PARTS = 3;
    private static final int TERMS = 6;
    /** Sizes must be multiples of this, so that every row of every part is whole 16-byte units. */
    private static final int UNIT = 8;
    /** Both operands FP32: no deeper than this, for six terms are stored side by side. */
    private static final int MOST_DEPTH = 1024;

    private final CudaRuntime cuda;
    private final CublasLt dense;

    SplitGemm(CudaRuntime cuda, CublasLt dense) {
        this.cuda = cuda;
        this.dense = dense;
    }

    /** Computes C (+)= A * B^T and returns true, or returns false when this way is not for these operands. */
    boolean multiply(CudaOperand a, CudaOperand b, CudaTensor c, boolean accumulate) {
        boolean whole = a.rows() % UNIT == 0 && b.rows() % UNIT == 0 && a.depth() % UNIT == 0;
        boolean wideA = a.values().dtype() == DType.FP32;
        boolean wideB = b.values().dtype() == DType.FP32;
        if (!whole || a.scale() != null || b.scale() != null) {
            return false;
        }
        if (wideA != wideB && c.dtype() == DType.FP32) {
            byParts(a, b, c, accumulate);
            return true;
        }
        if (wideA && wideB && c.dtype() == DType.BF16 && a.depth() <= MOST_DEPTH) {
            byTerms(a, b, c, accumulate);
            return true;
        }
        return false;
    }

    /** One FP32 operand: its parts as rows of one product, whose parts are then added, the smallest first. */
    private void byParts(CudaOperand a, CudaOperand b, CudaTensor c, boolean accumulate) {
        boolean splitA = a.values().dtype() == DType.FP32;
        CudaOperand wide = splitA ? a : b;
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor parts =
                    work.allocate(DType.BF16, Shape.flat(PARTS * wide.values().elements()));
            cuda.function("operand_plain", "split_bf16x3")
                    .launchLine(
                            grid(wide.values().elements()),
                            256,
                            wide.values(),
                            parts,
                            wide.rows(),
                            wide.depth(),
                            wide.depthMajor() ? 1 : 0);
            int rowsA = splitA ? PARTS * a.rows() : a.rows();
            int rowsB = splitA ? b.rows() : PARTS * b.rows();
            CudaTensor products = work.allocate(DType.FP32, rowsA, rowsB);
            dense.multiply(
                    new Matrix(splitA ? parts : a.values(), a.depthMajor()),
                    new Matrix(splitA ? b.values() : parts, b.depthMajor()),
                    products,
                    rowsA,
                    rowsB,
                    a.depth(),
                    null,
                    null,
                    false);
            cuda.function("operand_plain", "sum_bf16x3")
                    .launchLine(
                            grid(c.elements()),
                            256,
                            products,
                            c,
                            a.rows(),
                            b.rows(),
                            splitA ? 1 : 0,
                            accumulate ? 1 : 0);
        }
    }

    /** Two FP32 operands into BF16: one product, so that the result is rounded once. */
    private void byTerms(CudaOperand a, CudaOperand b, CudaTensor c, boolean accumulate) {
        try (CudaTensorScope work = cuda.workspace()) {
            dense.multiply(
                    new Matrix(terms(a, false, work), a.depthMajor()),
                    new Matrix(terms(b, true, work), b.depthMajor()),
                    c,
                    a.rows(),
                    b.rows(),
                    TERMS * a.depth(),
                    null,
                    null,
                    accumulate);
        }
    }

    private CudaTensor terms(CudaOperand operand, boolean right, CudaTensorScope work) {
        long elements = operand.values().elements();
        CudaTensor terms = work.allocate(DType.BF16, Shape.flat(TERMS * elements));
        cuda.function("operand_plain", "split_bf16x6")
                .launchLine(
                        grid(elements),
                        256,
                        operand.values(),
                        terms,
                        operand.rows(),
                        operand.depth(),
                        operand.depthMajor() ? 1 : 0,
                        right ? 1 : 0);
        return terms;
    }

    private static int grid(long elements) {
        return (int) Math.min((elements + 255) / 256, 4096);
    }
}
