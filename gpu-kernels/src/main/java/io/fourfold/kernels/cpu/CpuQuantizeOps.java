package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.quant.BlockQuantizer;
import io.fourfold.kernels.quant.QuantStatsAccumulator;
import io.fourfold.kernels.quant.StochasticBits;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Operands of the CPU backend. Storage keeps the source's layout whichever way the operand is read, so nothing is
 * transposed and a plain operand shares memory with its source. A quantized operand holds the values that enter the GEMM
 * (code times block scale); see docs/numerics.md. Single-threaded: keeps scratch arrays.
 */
public final class CpuQuantizeOps implements QuantizeOps {
    private final BlockQuantizer quantizer = new BlockQuantizer();

    @Override
    public GemmOperand operand(
            Tensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        CpuTensor source = CpuTensor.of(x);
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        if (!spec.quantized()) {
            return plain(source, rows, cols, byColumns, spec, scope);
        }
        QuantStatsAccumulator stats = probe == null ? null : new QuantStatsAccumulator();
        CpuTensor values = allocate(spec, byColumns, rows, cols, scope);
        StochasticBits bits = bits(spec, random, byColumns, 0, 0, rows);
        float[] amax = wholeAmax(source, new int[] {0, rows}, cols, byColumns, spec, exchange, scope);
        CpuOperand operand = quantize(source, rows, cols, byColumns, spec, bits, known(amax, 0), values, stats);
        report(stats, probe);
        return operand;
    }

    @Override
    public GroupedOperand stacked(
            Tensor weights,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        if (weights.shape().rank() != 3) {
            throw new IllegalArgumentException("stacked weights must be [groups, rows, cols], are " + weights);
        }
        CpuTensor source = CpuTensor.of(weights);
        int groups = weights.dim(0);
        int rows = weights.dim(1);
        int cols = weights.dim(2);
        QuantStatsAccumulator stats = probe == null ? null : new QuantStatsAccumulator();
        CpuOperand[] members = new CpuOperand[groups];
        int[] first = IntStream.rangeClosed(0, groups).map(g -> g * rows).toArray();
        float[] amax = wholeAmax(source, first, cols, byColumns, spec, exchange, scope);
        for (int g = 0; g < groups; g++) {
            CpuTensor group = source.view((long) g * rows * cols, Shape.of(rows, cols));
            if (spec.quantized()) {
                CpuTensor values = allocate(spec, byColumns, rows, cols, scope);
                members[g] = quantize(group, rows, cols, byColumns, spec, null, known(amax, g), values, stats);
            } else {
                members[g] = plain(group, rows, cols, byColumns, spec, scope);
            }
        }
        report(stats, probe);
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
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        CpuTensor source = CpuTensor.of(x);
        int cols = x.shape().cols();
        int[] bounds = bounds(CpuTensor.of(offsets), x.shape().rows());
        int groups = bounds.length - 1;
        QuantStatsAccumulator stats = probe == null ? null : new QuantStatsAccumulator();
        CpuOperand[] members = new CpuOperand[groups];
        float[] amax = wholeAmax(source, bounds, cols, byColumns, spec, exchange, scope);
        for (int g = 0; g < groups; g++) {
            int rows = bounds[g + 1] - bounds[g];
            CpuTensor group = source.view((long) bounds[g] * cols, Shape.of(rows, cols));
            if (spec.quantized()) {
                CpuTensor values = allocate(spec, byColumns, rows, cols, scope);
                StochasticBits bits = bits(spec, random, byColumns, firstGroup + g, bounds[g], rows);
                members[g] = quantize(group, rows, cols, byColumns, spec, bits, known(amax, g), values, stats);
            } else {
                members[g] = plain(group, rows, cols, byColumns, spec, scope);
            }
        }
        report(stats, probe);
        return new CpuGroupedOperand(byColumns ? Layout.RAGGED_DEPTH : Layout.RAGGED_ROWS, spec, members, bounds, cols);
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
                to[i] = from[start + r * rowStep + k * depthStep] * source.tensorScale();
            }
        }
        Bf16Rounding.roundIfNeeded(target, target.offset(), target.size());
    }

    /** The largest magnitude of each group over all parts; empty when nothing is split or the format needs none. */
    private float[] wholeAmax(
            CpuTensor source,
            int[] bounds,
            int cols,
            boolean byColumns,
            OperandSpec spec,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        if (exchange == null || !(spec.format() == Format.NVFP4 || spec.blocks() == Blocks.TENSOR)) {
            return new float[0];
        }
        CpuTensor amax = CpuTensor.of(scope.allocate(DType.FP32, bounds.length - 1));
        for (int g = 0; g < bounds.length - 1; g++) {
            int rows = bounds[g + 1] - bounds[g];
            int from = source.offset() + bounds[g] * cols;
            amax.floats()[amax.offset() + g] =
                    rows == 0 ? 0 : quantizer.tensorAmax(source.floats(), from, rows, cols, byColumns, spec);
        }
        exchange.largest(amax);
        return Arrays.copyOfRange(amax.floats(), amax.offset(), amax.offset() + bounds.length - 1);
    }

    private static @Nullable Float known(float[] amax, int group) {
        return amax.length == 0 ? null : amax[group];
    }

    private CpuOperand quantize(
            CpuTensor source,
            int rows,
            int cols,
            boolean byColumns,
            OperandSpec spec,
            @Nullable StochasticBits bits,
            @Nullable Float knownAmax,
            CpuTensor values,
            @Nullable QuantStatsAccumulator stats) {
        float tensorScale = quantizer.quantize(
                source.floats(),
                source.offset(),
                rows,
                cols,
                byColumns,
                spec,
                bits,
                knownAmax,
                values.floats(),
                values.offset(),
                stats);
        int storedRows = values.dim(0);
        int storedCols = values.dim(1);
        return new CpuOperand(
                spec,
                byColumns ? storedCols : storedRows,
                byColumns ? storedRows : storedCols,
                values,
                byColumns,
                tensorScale);
    }

    private static CpuTensor allocate(OperandSpec spec, boolean byColumns, int rows, int cols, TensorScope scope) {
        boolean fp8Blocks = spec.blocks() == Blocks.B1X128 || spec.blocks() == Blocks.B128X128;
        return CpuTensor.of(scope.allocate(
                fp8Blocks ? DType.FP32 : DType.BF16, // an FP4 code times its scale, or a bare FP8 code, fits BF16
                BlockQuantizer.storedRows(spec, byColumns, rows),
                BlockQuantizer.storedCols(spec, byColumns, cols)));
    }

    private static CpuOperand plain(
            CpuTensor source, int rows, int cols, boolean byColumns, OperandSpec spec, TensorScope scope) {
        CpuTensor values = source;
        if (spec.format() == Format.BF16 && source.dtype() != DType.BF16) {
            values = CpuTensor.of(scope.allocate(DType.BF16, rows, cols));
            BFloat16.round(source.floats(), source.offset(), values.floats(), values.offset(), rows * cols);
        }
        return new CpuOperand(spec, byColumns ? cols : rows, byColumns ? rows : cols, values, byColumns, 1);
    }

    private static @Nullable StochasticBits bits(
            OperandSpec spec, @Nullable RandomStream random, boolean byColumns, int group, int firstRow, int rows) {
        if (spec.rounding() != Rounding.STOCHASTIC || random == null) {
            return null;
        }
        Tensor rowIds = random.rowIds();
        Tensor columnGroups = random.columnGroups();
        int[] columns = columnGroups == null ? null : ints(columnGroups);
        int[] ids = null;
        int first = firstRow;
        if (rowIds != null) {
            CpuTensor tensor = CpuTensor.of(rowIds);
            if (firstRow + rows > tensor.elements()) {
                throw new IllegalArgumentException(
                        "the random stream names " + tensor.elements() + " rows, needed " + (firstRow + rows));
            }
            ids = tensor.ints();
            first += tensor.offset();
        }
        return new StochasticBits(
                random.seed(), random.step(), random.tensorId() + group, byColumns ? 1 : 0, ids, first, rows, columns);
    }

    private static int[] ints(Tensor tensor) {
        CpuTensor values = CpuTensor.of(tensor);
        return Arrays.copyOfRange(values.ints(), values.offset(), values.offset() + values.size());
    }

    private static int[] bounds(CpuTensor offsets, int rows) {
        int[] bounds = new int[offsets.size()];
        System.arraycopy(offsets.ints(), offsets.offset(), bounds, 0, bounds.length);
        int previous = 0;
        for (int bound : bounds) {
            if (bound < previous || bound > rows) {
                throw new IllegalArgumentException(
                        "offsets must ascend within 0.." + rows + ", found " + bound + " after " + previous);
            }
            previous = bound;
        }
        return bounds;
    }

    private static void report(@Nullable QuantStatsAccumulator stats, @Nullable QuantProbe probe) {
        if (stats != null && probe != null) {
            probe.record(stats.stats());
        }
    }
}
