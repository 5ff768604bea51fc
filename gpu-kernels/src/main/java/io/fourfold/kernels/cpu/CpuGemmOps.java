package io.fourfold.kernels.cpu;

import io.fourfold.kernels.cpu.Sgemm.Order;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import org.bytedeco.openblas.global.openblas_nolapack;
import org.jspecify.annotations.Nullable;

/**
 * Products through OpenBLAS sgemm: FP32 multiplication and accumulation, one factor (the product of both tensor scales)
 * applied to the sum, then rounding to BF16 where C is BF16. The order of summation is OpenBLAS's own, the same from run
 * to run for one processor type and number of threads.
 */
public final class CpuGemmOps implements GemmOps, AutoCloseable {
    private final NativeFloats nativeA = new NativeFloats();
    private final NativeFloats nativeB = new NativeFloats();
    private final NativeFloats nativeC = new NativeFloats();

    /**
     * @param threads threads of OpenBLAS; a setting of the whole process, so the last one made decides
     */
    public CpuGemmOps(int threads) {
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be at least 1, got " + threads);
        }
        openblas_nolapack.blas_set_num_threads(threads);
    }

    @Override
    public void multiply(GemmOperand a, GemmOperand b, Tensor c, boolean accumulate) {
        CpuOperand left = CpuOperand.of(a);
        CpuOperand right = CpuOperand.of(b);
        CpuTensor out = CpuTensor.of(c);
        requireSize(out, (long) left.rows() * right.rows(), "[" + left.rows() + ", " + right.rows() + "]");
        product(left, right, out, 0, accumulate);
    }

    @Override
    public void multiplyRows(Tensor a, GemmOperand b, Tensor c) {
        CpuTensor values = CpuTensor.of(a);
        OperandSpec spec = a.dtype() == DType.BF16 ? OperandSpec.BF16 : OperandSpec.FP32;
        multiply(new CpuOperand(spec, a.shape().rows(), a.shape().cols(), values, false, 1f), b, c, false);
    }

    @Override
    public void multiplyGrouped(GroupedOperand a, GroupedOperand b, Tensor c) {
        CpuGroupedOperand left = CpuGroupedOperand.of(a, Layout.RAGGED_ROWS, "A");
        CpuGroupedOperand right = CpuGroupedOperand.of(b, Layout.STACKED, "B");
        CpuTensor out = CpuTensor.of(c);
        requireSameGroups(left, right);
        int columns = right.width();
        if (out.shape().cols() != columns) {
            throw new IllegalArgumentException("C must have " + columns + " columns, is " + out);
        }
        for (int g = 0; g < left.groups(); g++) {
            CpuOperand member = left.members()[g];
            long end = (long) (left.first()[g] + member.rows()) * columns;
            if (end > out.elements()) {
                throw new IllegalArgumentException(
                        "group " + g + " ends at row " + (left.first()[g] + member.rows()) + ", but C is " + out);
            }
            product(member, right.members()[g], out, left.first()[g] * columns, false);
        }
    }

    @Override
    public void multiplyGroupedPart(GroupedOperand a, RowPart part, GroupedOperand b, Tensor c) {
        CpuGroupedOperand left = CpuGroupedOperand.of(a, Layout.RAGGED_ROWS, "A");
        CpuGroupedOperand right = CpuGroupedOperand.of(b, Layout.STACKED, "B");
        requireSameGroups(left, right);
        CpuTensor out = CpuTensor.of(c);
        int groups = left.groups();
        CpuTensor begins = Arguments.int32(part.begins(), "begins", groups);
        CpuTensor ends = Arguments.int32(part.ends(), "ends", groups);
        for (int g = 0; g < groups; g++) {
            int begin = begins.ints()[begins.offset() + g];
            int end = ends.ints()[ends.offset() + g];
            CpuOperand rows = left.members()[g].rows(begin - left.first()[g], end - left.first()[g]);
            product(rows, right.members()[g], out, begin * right.width(), false);
        }
    }

    @Override
    public void multiplyGroupedDepth(
            GroupedOperand a, GroupedOperand b, Tensor c, boolean accumulate, @Nullable Tensor squares) {
        CpuGroupedOperand left = CpuGroupedOperand.of(a, Layout.RAGGED_DEPTH, "A");
        CpuGroupedOperand right = CpuGroupedOperand.of(b, Layout.RAGGED_DEPTH, "B");
        CpuTensor out = CpuTensor.of(c);
        requireSameGroups(left, right);
        int size = left.width() * right.width();
        requireSize(
                out,
                (long) left.groups() * size,
                "[" + left.groups() + ", " + left.width() + ", " + right.width() + "]");
        for (int g = 0; g < left.groups(); g++) {
            product(left.members()[g], right.members()[g], out, g * size, accumulate);
        }
        if (squares != null) {
            Arguments.require(!accumulate, "squared norms of a sum that may go on");
            CpuTensor sums = Arguments.fp32(squares, "squares", left.groups());
            for (int g = 0; g < left.groups(); g++) {
                sums.floats()[sums.offset() + g] = (float) SquaredNorm.of(out.floats(), out.offset() + g * size, size);
            }
        }
    }

    /** Releases the native buffers. */
    @Override
    public void close() {
        nativeA.close();
        nativeB.close();
        nativeC.close();
    }

    /** C = A * B^T at {@code start} elements into {@code out}, plus the previous C when accumulating. */
    private void product(CpuOperand a, CpuOperand b, CpuTensor out, int start, boolean accumulate) {
        if (a.depth() != b.depth()) {
            throw new IllegalArgumentException("the operands differ in depth (K): A is [" + a.rows() + ", " + a.depth()
                    + "], B is [" + b.rows() + ", " + b.depth() + "]");
        }
        int size = a.rows() * b.rows();
        int offset = out.offset() + start;
        float[] values = out.floats();
        if (a.depth() == 0 || size == 0) {
            if (!accumulate) {
                Arrays.fill(values, offset, offset + size, 0f);
            }
            return;
        }
        Sgemm.Matrix left = load(nativeA, a);
        Sgemm.Matrix right = load(nativeB, b);
        nativeC.reserve(size);
        if (accumulate) {
            nativeC.put(0, values, offset, size);
        }
        Sgemm.multiply(
                a.depthMajor() ? Order.TRANSPOSED : Order.PLAIN,
                b.depthMajor() ? Order.PLAIN : Order.TRANSPOSED,
                a.rows(),
                b.rows(),
                a.depth(),
                a.tensorScale() * b.tensorScale(),
                left,
                right,
                accumulate ? 1f : 0f,
                new Sgemm.Matrix(nativeC, 0, b.rows()));
        nativeC.get(0, values, offset, size);
        Bf16Rounding.roundIfNeeded(out, offset, size);
    }

    private static Sgemm.Matrix load(NativeFloats memory, CpuOperand operand) {
        CpuTensor values = operand.values();
        int size = operand.rows() * operand.depth();
        memory.reserve(size);
        memory.put(0, values.floats(), values.offset(), size);
        return new Sgemm.Matrix(memory, 0, operand.leadingDimension());
    }

    private static void requireSameGroups(CpuGroupedOperand a, CpuGroupedOperand b) {
        if (a.groups() != b.groups()) {
            throw new IllegalArgumentException("A has " + a.groups() + " groups, B has " + b.groups());
        }
    }

    private static void requireSize(CpuTensor out, long elements, String wanted) {
        if (out.elements() != elements) {
            throw new IllegalArgumentException("C must be " + wanted + ", is " + out);
        }
    }
}
