package io.fourfold.kernels.cuda;

import io.fourfold.kernels.cuda.CublasLt.Matrix;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Products on the GPU: dense ones by cuBLASLt, grouped ones by the project's kernels. FP32 accumulation; BF16 operands on
 * tensor cores, FP32 operands as FP32, FP8 bytes on FP8 tensor cores, NVFP4 codes on FP4 tensor cores where the GPU has
 * them. Operands are never transposed in memory, except FP8
 * bytes, which are stored as they are multiplied.
 */
public final class CudaGemmOps implements GemmOps, AutoCloseable {
    private final CudaRuntime cuda;
    private final CublasLt dense;
    private final SplitGemm splitter;
    private final GroupedGemm grouped;
    private final Fp8GroupedGemm groupedFp8;
    private final Fp8DenseGemm denseFp8;
    private final Fp8Decoder fp8;
    /** Null where the GPU has no FP4 tensor cores. */
    private final @Nullable Fp4Gemm fp4;

    private final SegmentNorms squaredNorms;

    CudaGemmOps(CudaRuntime cuda) {
        this.cuda = cuda;
        this.dense = new CublasLt(cuda);
        this.splitter = new SplitGemm(cuda, dense);
        this.grouped = new GroupedGemm(cuda);
        this.groupedFp8 = new Fp8GroupedGemm(cuda);
        this.denseFp8 = new Fp8DenseGemm(cuda, dense, groupedFp8);
        this.fp8 = new Fp8Decoder(cuda);
        this.fp4 = Nvfp4Encoder.isFor(cuda.device()) ? new Fp4Gemm(cuda) : null;
        this.squaredNorms = new SegmentNorms(cuda);
    }

    @Override
    public void multiply(GemmOperand a, GemmOperand b, Tensor c, boolean accumulate) {
        CudaTensor out = CudaTensor.of(c);
        if ((fp4 != null && fp4.multiply(a, b, out, accumulate)) || denseFp8.multiply(a, b, out, accumulate)) {
            return;
        }
        try (CudaTensorScope work = cuda.workspace()) {
            multiply(decoded(a, work), decoded(b, work), out, accumulate);
        }
    }

    @Override
    public void multiplyRows(Tensor a, GemmOperand b, Tensor c) {
        CudaTensor values = CudaTensor.of(a);
        OperandSpec spec = a.dtype() == DType.BF16 ? OperandSpec.BF16 : OperandSpec.FP32;
        multiply(new CudaOperand(spec, values.shape().rows(), values.shape().cols(), values, false, null), b, c, false);
    }

    private CudaOperand decoded(GemmOperand operand, CudaTensorScope work) {
        return operand instanceof CudaPackedOperand packed ? packed.decoded(cuda, work) : fp8.decoded(operand, work);
    }

    private GroupedOperand decoded(GroupedOperand operand, CudaTensorScope work) {
        return operand instanceof CudaPackedGroupedOperand packed
                ? packed.decoded(cuda, work)
                : fp8.decoded(operand, work);
    }

    private void multiply(CudaOperand left, CudaOperand right, CudaTensor out, boolean accumulate) {
        if (left.depth() != right.depth()) {
            throw new IllegalArgumentException("the operands differ in depth (K): A is [" + left.rows() + ", "
                    + left.depth() + "], B is [" + right.rows() + ", " + right.depth() + "]");
        }
        requireSize(out, (long) left.rows() * right.rows(), "[" + left.rows() + ", " + right.rows() + "]");
        if (out.elements() == 0) {
            return;
        }
        if (left.depth() == 0) {
            if (!accumulate) {
                cuda.memory().zero(out);
            }
            return;
        }
        if (!splitter.multiply(left, right, out, accumulate)) {
            multiplyAsStored(left, right, out, accumulate);
        }
    }

    private void multiplyAsStored(CudaOperand left, CudaOperand right, CudaTensor out, boolean accumulate) {
        try (CudaTensorScope work = cuda.workspace()) {
            boolean mixed = left.values().dtype() != right.values().dtype();
            boolean fp32 = mixed || left.values().dtype() == DType.FP32;
            // cuBLASLt writes products of FP32 operands as FP32 only.
            boolean narrow = fp32 && out.dtype() == DType.BF16;
            CudaTensor target = !narrow ? out : accumulate ? asFp32(out, work) : work.allocate(DType.FP32, out.shape());
            dense.multiply(
                    new Matrix(mixed ? asFp32(left.values(), work) : left.values(), left.depthMajor()),
                    new Matrix(mixed ? asFp32(right.values(), work) : right.values(), right.depthMajor()),
                    target,
                    left.rows(),
                    right.rows(),
                    left.depth(),
                    left.scale(),
                    right.scale(),
                    accumulate);
            if (narrow) {
                cast("cast_fp32_bf16", target, out);
            }
        }
    }

    @Override
    public void multiplyGrouped(GroupedOperand a, GroupedOperand b, Tensor c) {
        CudaTensor out = CudaTensor.of(c);
        if (!(fp4 != null && fp4.multiplyGrouped(a, b, out, false)) && !groupedFp8.rows(a, b, out)) {
            try (CudaTensorScope work = cuda.workspace()) {
                multiplyRows(fp8.decoded(a, work), fp8.decoded(b, work), null, out);
            }
        }
    }

    @Override
    public void multiplyGroupedPart(GroupedOperand a, RowPart part, GroupedOperand b, Tensor c) {
        multiplyRows(a, b, part, CudaTensor.of(c));
    }

    /**
     * @param part null = all rows
     */
    private void multiplyRows(GroupedOperand a, GroupedOperand b, @Nullable RowPart part, CudaTensor out) {
        CudaGroupedOperand left = CudaGroupedOperand.of(a, Layout.RAGGED_ROWS, "A");
        CudaGroupedOperand right = CudaGroupedOperand.of(b, Layout.STACKED, "B");
        requireSameGroups(left, right);
        if (left.depth() != right.depth()) {
            throw new IllegalArgumentException(
                    "the operands differ in depth (K): A has " + left.depth() + ", B has " + right.depth());
        }
        if (out.shape().cols() != right.width()
                || out.shape().rows() < left.values().shape().rows()) {
            throw new IllegalArgumentException(
                    "C must be [" + left.values().shape().rows() + ", " + right.width() + "], is " + out);
        }
        CudaTensor offsets = Objects.requireNonNull(left.offsets());
        int groups = left.groups();
        if (part == null) {
            grouped.rows(left, right, out, offsets, offsets.view(1, Shape.flat(groups)));
        } else {
            grouped.rows(
                    left,
                    right,
                    out,
                    CudaArguments.int32(part.begins(), "begins", groups),
                    CudaArguments.int32(part.ends(), "ends", groups));
        }
    }

    @Override
    public void multiplyGroupedDepth(
            GroupedOperand a, GroupedOperand b, Tensor c, boolean accumulate, @Nullable Tensor squares) {
        CudaTensor out = CudaTensor.of(c);
        CudaArguments.require(squares == null || !accumulate, "squared norms of a sum that may go on");
        CudaTensor sums = squares == null ? null : CudaArguments.fp32(squares, "squares", a.groups());
        boolean fourBits = fp4 != null && fp4.multiplyGrouped(a, b, out, accumulate);
        boolean summed = !fourBits && groupedFp8.depth(a, b, out, accumulate, sums);
        if (!fourBits && !summed) {
            try (CudaTensorScope work = cuda.workspace()) {
                summed = multiplyDepth(decoded(a, work), decoded(b, work), out, accumulate, sums);
            }
        }
        if (sums != null && !summed) {
            squaredNorms.ofGroups(out, sums);
        }
    }

    /** True when the squared norms have been written. */
    private boolean multiplyDepth(
            GroupedOperand a, GroupedOperand b, CudaTensor out, boolean accumulate, @Nullable CudaTensor squares) {
        CudaGroupedOperand left = CudaGroupedOperand.of(a, Layout.RAGGED_DEPTH, "A");
        CudaGroupedOperand right = CudaGroupedOperand.of(b, Layout.RAGGED_DEPTH, "B");
        requireSameGroups(left, right);
        if (left.padded() != right.padded()) {
            throw new IllegalArgumentException(
                    "the operands differ in depth (K): one is Hadamard-transformed and padded"
                            + " to blocks of 16 rows per group, the other is not (A " + left.spec() + ", B "
                            + right.spec() + ")");
        }
        requireSize(
                out,
                (long) left.groups() * left.width() * right.width(),
                "[" + left.groups() + ", " + left.width() + ", " + right.width() + "]");
        return grouped.depth(left, right, out, Objects.requireNonNull(left.offsets()), accumulate, squares);
    }

    @Override
    public void close() {
        denseFp8.close();
        dense.close();
        grouped.close();
        groupedFp8.close();
        if (fp4 != null) {
            fp4.close();
        }
        squaredNorms.close();
    }

    private CudaTensor asFp32(CudaTensor values, CudaTensorScope work) {
        if (values.dtype() == DType.FP32) {
            return values;
        }
        CudaTensor wide = work.allocate(DType.FP32, values.shape());
        cast("cast_bf16_fp32", values, wide);
        return wide;
    }

    private void cast(String kernel, CudaTensor from, CudaTensor to) {
        int grid = (int) Math.min((from.elements() + 255) / 256, 4096);
        cuda.function("operand_plain", kernel).launchLine(grid, 256, from, to, from.elements());
    }

    private static void requireSameGroups(CudaGroupedOperand a, CudaGroupedOperand b) {
        if (a.groups() != b.groups()) {
            throw new IllegalArgumentException("A has " + a.groups() + " groups, B has " + b.groups());
        }
    }

    private static void requireSize(CudaTensor out, long elements, String wanted) {
        if (out.elements() != elements) {
            throw new IllegalArgumentException("C must be " + wanted + ", is " + out);
        }
    }
}
