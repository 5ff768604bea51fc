package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.quant.BlockQuantizer;
import io.fourfold.kernels.quant.StochasticBits;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Operands of the CUDA backend. Plain ones share memory with their source or are cast to BF16. NVFP4 is emulated in BF16,
 * exactly: see {@link Nvfp4Emulation}, {@link Nvfp4Pair} and {@link Nvfp4Weights}; where the GPU has FP4 tensor cores they get
 * codes, see {@link Nvfp4Encoder}. MXFP4 likewise: {@link Mxfp4Emulation}. FP8: see {@link Fp8Quantizer}. Offsets are
 * read on the device; nothing waits for them.
 */
public final class CudaQuantizeOps implements QuantizeOps {
    private final CudaRuntime cuda;
    private final Nvfp4Emulation nvfp4;
    private final Nvfp4Pair pair;
    private final Nvfp4Weights weightTiles;
    /** Null where the GPU has no FP4 tensor cores and NVFP4 is emulated. */
    private final @Nullable Nvfp4Encoder fp4;

    private final Fp8Quantizer fp8;
    private final Mxfp4Emulation mxfp4;
    private final Fp8Activation fp8Activation;
    private final Fp8Spread fp8Spread;
    private final Fp8Decoder decoder;

    CudaQuantizeOps(CudaRuntime cuda) {
        this.cuda = cuda;
        this.nvfp4 = new Nvfp4Emulation(cuda);
        this.pair = new Nvfp4Pair(cuda, nvfp4);
        this.weightTiles = new Nvfp4Weights(cuda, nvfp4, pair.state());
        this.fp4 = Nvfp4Encoder.isFor(cuda.device()) ? new Nvfp4Encoder(cuda, nvfp4) : null;
        this.fp8 = new Fp8Quantizer(cuda);
        this.mxfp4 = new Mxfp4Emulation(cuda);
        this.fp8Activation = new Fp8Activation(cuda);
        this.fp8Spread = new Fp8Spread(cuda);
        this.decoder = new Fp8Decoder(cuda);
    }

    @Override
    public GemmOperand operand(
            Tensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        return operand(x, byColumns, spec, random, probe, AmaxSource.of(null, 1, exchange), scope);
    }

    private GemmOperand operand(
            Tensor x,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            @Nullable QuantProbe probe,
            AmaxSource largest,
            TensorScope scope) {
        CudaTensor source = floats(x);
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        if (!spec.quantized()) {
            return new CudaOperand(
                    spec,
                    byColumns ? cols : rows,
                    byColumns ? rows : cols,
                    plain(source, spec, scope),
                    byColumns,
                    null);
        }
        check(spec, random);
        if (isFp8(spec)) {
            OperandCopy copy = new OperandCopy(spec, null, probe, scope);
            return fp8.dense(source, byColumns ? null : copy, byColumns ? copy : null, largest)
                    .one();
        }
        if (isMxfp4(spec)) {
            return mxfp4.operand(source, byColumns, spec, random, probe, scope);
        }
        if (fp4 != null) {
            return fp4.operand(source, byColumns, spec, random, probe, largest.exchange(), scope);
        }
        int id = random == null ? 0 : random.tensorId();
        RowGroups whole = RowGroups.equal(1, rows);
        Nvfp4Emulation.Result result =
                weightTiles.quantize(source, cols, whole, byColumns, spec, random, id, probe, largest, scope);
        int storedRows = result.values().dim(0);
        return new CudaOperand(
                spec,
                byColumns ? cols : rows,
                byColumns ? storedRows : cols,
                result.values(),
                byColumns,
                result.scale());
    }

    @Override
    public GroupedOperand stacked(
            Tensor weights,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        return stacked(weights, byColumns, spec, probe, AmaxSource.of(null, 1, exchange), scope);
    }

    private GroupedOperand stacked(
            Tensor weights,
            boolean byColumns,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            AmaxSource largest,
            TensorScope scope) {
        if (weights.shape().rank() != 3) {
            throw new IllegalArgumentException("stacked weights must be [groups, rows, cols], are " + weights);
        }
        CudaTensor source = floats(weights);
        int groups = weights.dim(0);
        int rows = weights.dim(1);
        int cols = weights.dim(2);
        CudaTensor values;
        CudaTensor scale = null;
        int storedRows = rows;
        if (isFp8(spec)) {
            check(spec, null);
            OperandCopy copy = new OperandCopy(spec, null, probe, scope);
            return fp8.stacked(source, byColumns ? null : copy, byColumns ? copy : null, largest)
                    .one();
        }
        if (isMxfp4(spec)) {
            check(spec, null);
            return mxfp4.stacked(source, byColumns, spec, probe, scope);
        }
        if (spec.quantized()) {
            check(spec, null);
            if (fp4 != null) {
                return fp4.stacked(source, byColumns, spec, probe, largest.exchange(), scope);
            }
            RowGroups split = RowGroups.equal(groups, rows);
            Nvfp4Emulation.Result result =
                    weightTiles.quantize(source, cols, split, byColumns, spec, null, 0, probe, largest, scope);
            values = result.values();
            scale = result.scale();
            storedRows = spec.hadamard() ? (rows + 15) / 16 * 16 : rows;
        } else {
            values = plain(source, spec, scope);
        }
        return new CudaGroupedOperand(
                Layout.STACKED,
                spec,
                groups,
                values,
                byColumns ? cols : storedRows,
                byColumns ? storedRows : cols,
                byColumns,
                null,
                false,
                scale);
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
        CudaTensor source = floats(x);
        int cols = x.shape().cols();
        CudaTensor starts = CudaTensor.of(offsets);
        int groups = Math.toIntExact(starts.elements()) - 1;
        CudaTensor values;
        CudaTensor scale = null;
        boolean padded = spec.quantized() && spec.hadamard();
        CudaTensor begins = starts;
        if (isFp8(spec)) {
            check(spec, random);
            OperandCopy copy = new OperandCopy(spec, null, probe, scope);
            return fp8.ragged(
                            source,
                            groups(x, offsets),
                            byColumns ? null : copy,
                            byColumns ? copy : null,
                            AmaxSource.of(null, 1, exchange))
                    .one();
        }
        if (isMxfp4(spec)) {
            check(spec, random);
            RowGroups split = RowGroups.ragged(cuda, starts, groups, x.shape().rows(), false, scope);
            return mxfp4.ragged(source, split, byColumns, spec, firstGroup, random, probe, scope);
        }
        if (spec.quantized()) {
            check(spec, random);
            int id = random == null ? 0 : random.tensorId() + firstGroup;
            if (fp4 != null) {
                return fp4.ragged(source, starts, byColumns, spec, firstGroup, random, probe, exchange, scope);
            }
            boolean needsBlocks = byColumns || spec.blocks() == Blocks.B16X16;
            RowGroups split = RowGroups.ragged(cuda, starts, groups, x.shape().rows(), needsBlocks, scope);
            Nvfp4Emulation.Result result =
                    nvfp4.quantize(source, cols, split, byColumns, spec, random, id, probe, exchange, scope);
            values = result.values();
            scale = result.scale();
            if (padded && split.paddedOffsets() != null) {
                begins = split.paddedOffsets();
            }
        } else {
            values = plain(source, spec, scope);
        }
        return new CudaGroupedOperand(
                byColumns ? Layout.RAGGED_DEPTH : Layout.RAGGED_ROWS,
                spec,
                groups,
                values,
                byColumns ? cols : 0,
                byColumns ? 0 : cols,
                byColumns,
                begins,
                padded,
                scale);
    }

    @Override
    public OperandPair<GemmOperand> operandPair(
            Tensor x, OperandCopy rows, OperandCopy columns, @Nullable AmaxExchange exchange, @Nullable Tensor amax) {
        CudaTensor source = floats(x);
        if (fp4 == null && Nvfp4Pair.supports(source, 1, rows, columns)) {
            check(rows.spec(), rows.random());
            return pair.whole(source, rows, columns, exchange);
        }
        if (!isFp8(rows.spec()) || !isFp8(columns.spec())) {
            return QuantizeOps.super.operandPair(x, rows, columns, exchange, amax);
        }
        check(rows.spec(), null);
        check(columns.spec(), null);
        return fp8.dense(source, rows, columns, AmaxSource.of(amax, 1, exchange))
                .pair();
    }

    @Override
    public OperandPair<GemmOperand> weightPair(
            Tensor weight,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange,
            @Nullable Tensor amax) {
        return isFp8(rows.spec()) && isFp8(columns.spec())
                ? operandPair(weight, rows, columns, exchange, amax)
                : weightPair(weight, rows, columns, AmaxSource.of(amax, 1, exchange));
    }

    @Override
    public OperandPair<GroupedOperand> stackedPair(
            Tensor weights,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange,
            @Nullable Tensor amax) {
        if (!isFp8(rows.spec()) || !isFp8(columns.spec())) {
            AmaxSource largest = AmaxSource.of(amax, weights.dim(0), exchange);
            GroupedOperand byRows = stacked(weights, false, rows.spec(), rows.probe(), largest, rows.scope());
            return new OperandPair<>(
                    byRows,
                    columnsOf(
                            byRows, rows.spec(), weights, columns.spec(), columns.probe(), exchange, columns.scope()));
        }
        check(rows.spec(), null);
        check(columns.spec(), null);
        return fp8.stacked(floats(weights), rows, columns, AmaxSource.of(amax, weights.dim(0), exchange))
                .pair();
    }

    private OperandPair<GemmOperand> weightPair(
            Tensor weight, OperandCopy rows, OperandCopy columns, AmaxSource largest) {
        GemmOperand byRows = operand(weight, false, rows.spec(), null, rows.probe(), largest, rows.scope());
        return new OperandPair<>(
                byRows,
                columnsOf(
                        byRows,
                        rows.spec(),
                        weight,
                        columns.spec(),
                        columns.probe(),
                        largest.exchange(),
                        columns.scope()));
    }

    @Override
    public OperandPair<GroupedOperand> raggedPair(
            Tensor x,
            Tensor offsets,
            int firstGroup,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        CudaTensor source = floats(x);
        RowGroups groups = groups(x, offsets);
        if (fp4 == null && Nvfp4Pair.supports(source, groups.count(), rows, columns)) {
            check(rows.spec(), rows.random());
            return pair.ragged(source, groups, firstGroup, rows, columns, exchange);
        }
        if (!isFp8(rows.spec()) || !isFp8(columns.spec())) {
            return QuantizeOps.super.raggedPair(x, offsets, firstGroup, rows, columns, exchange);
        }
        check(rows.spec(), null);
        check(columns.spec(), null);
        return fp8.ragged(source, groups, rows, columns, AmaxSource.of(null, groups.count(), exchange))
                .pair();
    }

    @Override
    public @Nullable OperandPair<GroupedOperand> activatedPair(
            Activation kind,
            Tensor in,
            @Nullable Tensor probability,
            Tensor offsets,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        CudaTensor source = floats(in);
        if (!fp8Activation.takes(kind, source, rows, columns)) {
            return null;
        }
        return fp8Activation.forward(
                source,
                probability == null ? null : CudaTensor.of(probability),
                groups(in, offsets),
                rows,
                columns,
                exchange);
    }

    @Override
    public @Nullable OperandPair<GroupedOperand> activationGradientPair(
            Activation kind,
            Tensor dout,
            Tensor in,
            @Nullable Tensor probability,
            Tensor dprobability,
            Tensor offsets,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        CudaTensor source = floats(in);
        CudaTensor upstream = floats(dout);
        boolean fits = upstream.dtype() == DType.BF16 && upstream.address() % Fp8Source.UNIT == 0;
        if (!fits || !fp8Activation.takes(kind, source, rows, columns)) {
            return null;
        }
        return fp8Activation.backward(
                upstream,
                source,
                probability == null ? null : CudaTensor.of(probability),
                CudaTensor.of(dprobability),
                groups(in, offsets),
                rows,
                columns,
                exchange);
    }

    @Override
    public @Nullable OperandPair<GroupedOperand> spreadPair(
            Tensor x,
            Tensor slotOfRow,
            int k,
            Tensor offsets,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        CudaTensor source = floats(x);
        CudaTensor slots = CudaTensor.of(slotOfRow);
        if (slots.elements() == 0 || !fp8Spread.takes(source, rows, columns)) {
            return null;
        }
        CudaTensor starts = CudaTensor.of(offsets);
        RowGroups groups = new RowGroups(
                Math.toIntExact(starts.elements()) - 1, 0, Math.toIntExact(slots.elements()), starts, null, null);
        return fp8Spread.spread(source, slots, k, groups, rows, columns, exchange);
    }

    private static RowGroups groups(Tensor rows, Tensor offsets) {
        CudaTensor starts = CudaTensor.of(offsets);
        int count = Math.toIntExact(starts.elements()) - 1;
        return new RowGroups(count, 0, rows.shape().rows(), starts, null, null);
    }

    @Override
    public GemmOperand columnsOf(
            GemmOperand byRows,
            OperandSpec rowSpec,
            Tensor x,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        if (!sameValues(rowSpec, spec, probe)) {
            return operand(x, true, spec, null, probe, exchange, scope);
        }
        if (!(byRows instanceof CudaOperand rows)) {
            return operand(x, true, spec, null, null, exchange, scope); // stored as they are multiplied
        }
        return new CudaOperand(spec, rows.depth(), rows.rows(), rows.values(), true, rows.scale());
    }

    @Override
    public GroupedOperand columnsOf(
            GroupedOperand byRows,
            OperandSpec rowSpec,
            Tensor weights,
            OperandSpec spec,
            @Nullable QuantProbe probe,
            @Nullable AmaxExchange exchange,
            TensorScope scope) {
        if (!sameValues(rowSpec, spec, probe)) {
            return stacked(weights, true, spec, probe, exchange, scope);
        }
        if (byRows instanceof CudaFp8GroupedOperand || byRows instanceof CudaFp4GroupedOperand) {
            return stacked(weights, true, spec, null, exchange, scope);
        }
        CudaGroupedOperand rows = CudaGroupedOperand.of(byRows, Layout.STACKED, "by rows");
        return new CudaGroupedOperand(
                Layout.STACKED,
                spec,
                rows.groups(),
                rows.values(),
                rows.depth(),
                rows.width(),
                true,
                null,
                false,
                rows.scale());
    }

    private static boolean isFp8(OperandSpec spec) {
        return spec.format() == Format.FP8_E4M3;
    }

    private static boolean isMxfp4(OperandSpec spec) {
        return spec.format() == Format.MXFP4;
    }

    /** Square blocks, or one for all, rounded to nearest: rows and columns share codes and scales. Telemetry wants each made anew. */
    private static boolean sameValues(OperandSpec rows, OperandSpec columns, @Nullable QuantProbe probe) {
        return rows.equals(columns)
                && (columns.blocks() == Blocks.B16X16 || columns.blocks() == Blocks.TENSOR)
                && columns.rounding() == OperandSpec.Rounding.NEAREST_EVEN
                && !columns.hadamard()
                && probe == null;
    }

    @Override
    public void dequantize(GemmOperand operand, Tensor out) {
        if (fp4 != null && operand instanceof CudaFp4Operand codes) {
            fp4.dequantize(codes, CudaTensor.of(out));
            return;
        }
        try (CudaTensorScope work = cuda.workspace()) {
            CudaOperand values = operand instanceof CudaPackedOperand packed
                    ? packed.decoded(cuda, work)
                    : decoder.decoded(operand, work);
            dequantize(values, out);
        }
    }

    private void dequantize(CudaOperand source, Tensor out) {
        CudaTensor target = floats(out);
        long elements = (long) source.rows() * source.depth();
        if (target.elements() != elements) {
            throw new IllegalArgumentException(
                    "out must be [" + source.rows() + ", " + source.depth() + "], is " + target);
        }
        cuda.function("operand_plain", "dequantize" + suffix(source.values()) + suffix(target))
                .launchLine(
                        grid(elements),
                        256,
                        source.values(),
                        CudaFunction.orNull(source.scale()),
                        source.rows(),
                        source.depth(),
                        source.depthMajor() ? 1 : 0,
                        target);
    }

    private CudaTensor plain(CudaTensor source, OperandSpec spec, TensorScope scope) {
        if (spec.format() != Format.BF16 || source.dtype() == DType.BF16) {
            return source;
        }
        CudaTensor values = CudaTensor.of(scope.allocate(DType.BF16, source.shape()));
        cuda.function("operand_plain", "cast_fp32_bf16")
                .launchLine(grid(source.elements() / 4 + 1), 256, source, values, source.elements());
        return values;
    }

    private static void check(OperandSpec spec, @Nullable RandomStream random) {
        BlockQuantizer.check(
                spec,
                random == null
                        ? null
                        : new StochasticBits(random.seed(), random.step(), random.tensorId(), 0, null, 0, 0));
        boolean plainFp8 = isFp8(spec) && spec.rounding() == OperandSpec.Rounding.NEAREST_EVEN && !spec.hadamard();
        if (spec.format() != Format.NVFP4 && !isMxfp4(spec) && !plainFp8) {
            throw new UnsupportedOperationException(
                    "the CUDA backend has no such operands yet: " + spec + "; use E4M3 for FP8, or run.backend=cpu");
        }
    }

    private static CudaTensor floats(Tensor tensor) {
        CudaTensor cuda = CudaTensor.of(tensor);
        if (cuda.dtype() == DType.INT32) {
            throw new IllegalArgumentException("expected FP32 or BF16, got " + cuda);
        }
        return cuda;
    }

    private static String suffix(CudaTensor tensor) {
        return tensor.dtype() == DType.FP32 ? "_fp32" : "_bf16";
    }

    private static int grid(long elements) {
        return (int) Math.min((elements + 255) / 256, 132 * 16);
    }
}
