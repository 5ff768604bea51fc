package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Operands of the CPU backend. Storage keeps the source's layout whichever way the operand is read, so a plain operand
 * by columns shares memory with its source like one by rows.
 */
public final class CpuQuantizeOps implements QuantizeOps {

    @Override
    public GemmOperand operand(
            Tensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            TensorScope scope) {
        CpuTensor source = CpuTensor.of(x);
        return plain(source, x.shape().rows(), x.shape().cols(), byColumns, spec, scope);
    }

    @Override
    public GroupedOperand stacked(
            Tensor weights, boolean byColumns, OperandSpec spec, @Nullable QuantProbe probe, TensorScope scope) {
        CpuTensor source = CpuTensor.of(weights);
        int groups = weights.dim(0);
        int rows = weights.dim(1);
        int cols = weights.dim(2);
        CpuOperand[] members = new CpuOperand[groups];
        int[] first = new int[groups];
        for (int g = 0; g < groups; g++) {
            first[g] = g * rows;
            CpuTensor group = source.view((long) g * rows * cols, Shape.of(rows, cols));
            members[g] = plain(group, rows, cols, byColumns, spec, scope);
        }
        return new CpuGroupedOperand(Layout.STACKED, spec, members, first, byColumns ? cols : rows);
    }

    @Override
    public GroupedOperand ragged(
            Tensor x,
            Tensor offsets,
            boolean byColumns,
            OperandSpec spec,
            int firstGroup,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            TensorScope scope) {
        CpuTensor source = CpuTensor.of(x);
        CpuTensor bounds = CpuTensor.of(offsets);
        int groups = offsets.dim(0) - 1;
        int cols = x.shape().cols();
        CpuOperand[] members = new CpuOperand[groups];
        int[] first = new int[groups];
        for (int g = 0; g < groups; g++) {
            first[g] = bounds.ints()[bounds.offset() + g];
            int rows = bounds.ints()[bounds.offset() + g + 1] - first[g];
            CpuTensor group = source.view((long) first[g] * cols, Shape.of(rows, cols));
            members[g] = plain(group, rows, cols, byColumns, spec, scope);
        }
        return new CpuGroupedOperand(byColumns ? Layout.RAGGED_DEPTH : Layout.RAGGED_ROWS, spec, members, first, cols);
    }

    @Override
    public void dequantize(GemmOperand operand, Tensor out) {
        CpuOperand source = CpuOperand.of(operand);
        CpuTensor target = CpuTensor.of(out);
        if (target.elements() != (long) source.rows() * source.depth()) {
            throw new IllegalArgumentException(
                    "out must be [" + source.rows() + ", " + source.depth() + "], is " + target);
        }
        float[] from = source.values().floats();
        float[] to = target.floats();
        int start = source.values().offset();
        int rowStep = source.depthMajor() ? 1 : source.depth();
        int depthStep = source.depthMajor() ? source.rows() : 1;
        for (int r = 0, i = target.offset(); r < source.rows(); r++) {
            for (int k = 0; k < source.depth(); k++, i++) {
                to[i] = (float) (from[start + r * rowStep + k * depthStep] * source.tensorScale());
            }
        }
        if (target.dtype() == DType.BF16) {
            BFloat16.round(to, target.offset(), to, target.offset(), target.size());
        }
    }

    private static CpuOperand plain(
            CpuTensor source, int rows, int cols, boolean byColumns, OperandSpec spec, TensorScope scope) {
        CpuTensor values = source;
        if (spec.quantized()) {
            throw new UnsupportedOperationException(spec.format() + " operands are not implemented");
        }
        if (spec.format() == Format.BF16 && source.dtype() != DType.BF16) {
            values = CpuTensor.of(scope.allocate(DType.BF16, rows, cols));
            BFloat16.round(source.floats(), source.offset(), values.floats(), values.offset(), rows * cols);
        }
        return new CpuOperand(spec, byColumns ? cols : rows, byColumns ? rows : cols, values, byColumns, 1);
    }
}
