package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code fp8_quantize.cu} and {@code fp8_values.cu}: codes by rows, by columns or both from one read of the
 * source, and their factors. Statistics are gathered where asked, in passes of their own.
 */
final class Fp8Encoder {
    private static final String BYTES = "fp8_quantize";
    private static final String VALUES = "fp8_values";
    private static final int BLOCK = 256;
    private static final int AMAX_ROWS = 32;
    private static final int OCTET = 8;
    private static final int OCTETS_PER_BLOCK = 2048;
    static final int STARTS_THREADS = 1024;

    private static final OperandSpec VECTORS = OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128);
    private static final OperandSpec WHOLE = OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR);

    private final CudaRuntime cuda;

    Fp8Encoder(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** Codes of one copy: bytes, or values in the layout of the source; with values of blocks there are no factors. */
    record Codes(CudaTensor codes, @Nullable CudaTensor scale) {}

    /** Both copies; one that was not asked for is null. */
    record Both(@Nullable Codes rows, @Nullable Codes columns) {}

    /**
     * Tokens split by offsets, with the places of padded groups.
     *
     * @param amax FP32 [groups] that becomes zero; null where no magnitudes are wanted
     */
    Fp8Source ragged(CudaTensor x, int cols, RowGroups groups, TensorScope scope, @Nullable CudaTensor amax) {
        if (groups.count() > STARTS_THREADS) {
            throw new IllegalArgumentException(
                    "at most " + STARTS_THREADS + " experts per rank, got " + groups.count());
        }
        CudaTensor starts = CudaTensor.of(scope.allocate(DType.INT32, groups.count() + 1));
        cuda.function(BYTES, "fp8_starts")
                .launchLine(
                        1,
                        STARTS_THREADS,
                        CudaFunction.orNull(groups.offsets()),
                        groups.count(),
                        starts,
                        CudaFunction.orNull(amax));
        return new Fp8Source(x, cols, groups, Fp8Source.paddedRows(groups), starts);
    }

    /** Room for the bytes and factors of the copies that are asked for. */
    static Both allocate(Fp8Source source, @Nullable OperandCopy rows, @Nullable OperandCopy columns) {
        Codes byRows = rows == null
                ? null
                : new Codes(bytes(rows.scope(), source.rowBytes()), scales(source.scales(rows.spec(), false), rows));
        Codes byColumns = columns == null
                ? null
                : new Codes(
                        bytes(columns.scope(), source.columnBytes()),
                        scales(source.scales(columns.spec(), true), columns));
        return new Both(byRows, byColumns);
    }

    /** Bytes. Where both copies are asked for, their specs are equal. */
    Both bytes(Fp8Source source, @Nullable OperandCopy rows, @Nullable OperandCopy columns, AmaxSource largest) {
        Both both = allocate(source, rows, columns);
        Codes byRows = both.rows();
        Codes byColumns = both.columns();
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor amax = amax(source, rows, columns, largest, work);
            OperandSpec spec =
                    rows != null ? rows.spec() : Objects.requireNonNull(columns).spec();
            cuda.function(BYTES, "fp8_" + scaling(spec) + source.suffix())
                    .launch(
                            source.tiles(),
                            source.columnTiles(),
                            1,
                            BLOCK,
                            0,
                            source.x(),
                            source.cols(),
                            source.offsets(),
                            CudaFunction.orNull(source.starts()),
                            source.groups().count(),
                            source.groups().rows(),
                            CudaFunction.orNull(amax),
                            codes(byRows),
                            codes(byColumns),
                            scale(byRows),
                            scale(byColumns),
                            source.groups().totalRows(),
                            source.stride());
            measure(source, rows, false, amax, work);
            measure(source, columns, true, amax, work);
        }
        return both;
    }

    /** Values [totalRows, cols] in the layout of the source: BF16 codes with a factor a group, or FP32 with those of blocks. */
    Codes values(Fp8Source source, boolean byColumns, OperandCopy copy, AmaxSource largest) {
        boolean whole = copy.spec().blocks() == Blocks.TENSOR;
        Shape shape = Shape.of(source.groups().totalRows(), source.cols());
        CudaTensor values = CudaTensor.of(copy.scope().allocate(whole ? DType.BF16 : DType.FP32, shape));
        CudaTensor scale = whole ? scales(source.groups().count(), copy) : null;
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor amax = amax(source, copy, null, largest, work);
            plain(source, byColumns, copy.spec(), amax, values, CudaFunction.orNull(scale), CudaFunction.NULL);
            measure(source, copy, byColumns, amax, work);
        }
        return new Codes(values, scale);
    }

    /** The largest magnitude of each group, where factors or statistics need it. */
    private @Nullable CudaTensor amax(
            Fp8Source source,
            @Nullable OperandCopy rows,
            @Nullable OperandCopy columns,
            AmaxSource largest,
            CudaTensorScope work) {
        boolean whole = isWhole(rows) || isWhole(columns);
        if (!whole && !isMeasured(rows) && !isMeasured(columns)) {
            return null;
        }
        RowGroups groups = source.groups();
        CudaTensor amax = largest.known();
        if (amax == null) {
            amax = work.zeros(DType.FP32, groups.count());
            findAmax(source, amax);
        }
        if (largest.exchange() != null && whole) {
            largest.exchange().largest(amax);
        }
        return amax;
    }

    /** Raises zeros to the largest magnitude of each group. */
    private void findAmax(Fp8Source source, CudaTensor amax) {
        RowGroups groups = source.groups();
        long elements = (long) groups.totalRows() * source.cols();
        boolean whole = groups.count() == 1
                && groups.offsets() == null
                && elements % OCTET == 0
                && source.x().address() % Fp8Source.UNIT == 0;
        if (whole) {
            cuda.function(BYTES, "fp8_amax" + source.suffix())
                    .launchLine(
                            CudaArguments.blocks(elements, OCTETS_PER_BLOCK * OCTET),
                            BLOCK,
                            source.x(),
                            elements / OCTET,
                            amax);
            return;
        }
        cuda.function("nvfp4_emulate", "group_amax" + source.suffix())
                .launchLine(
                        Fp8Source.ceil(groups.totalRows(), AMAX_ROWS),
                        BLOCK,
                        source.x(),
                        groups.totalRows(),
                        source.cols(),
                        source.offsets(),
                        CudaFunction.NULL,
                        groups.count(),
                        groups.rows(),
                        amax);
    }

    private void measure(
            Fp8Source source,
            @Nullable OperandCopy copy,
            boolean byColumns,
            @Nullable CudaTensor amax,
            CudaTensorScope work) {
        if (copy == null || copy.probe() == null || amax == null) {
            return;
        }
        CudaTensor sums = QuantSums.zeros(work);
        plain(source, byColumns, copy.spec(), amax, CudaFunction.NULL, CudaFunction.NULL, sums);
        int wholeBlocks = isWhole(copy) ? source.groups().count() : 0;
        copy.probe().record(QuantSums.read(cuda.memory(), sums, amax, wholeBlocks));
    }

    private void plain(
            Fp8Source source,
            boolean byColumns,
            OperandSpec spec,
            @Nullable CudaTensor amax,
            Object values,
            Object scale,
            Object sums) {
        String scaling = spec.blocks() == Blocks.B1X128 ? (byColumns ? "columns" : "rows") : scaling(spec);
        cuda.function(VALUES, "fp8_values_" + scaling + source.suffix())
                .launch(
                        source.tiles(),
                        source.columnTiles(),
                        1,
                        BLOCK,
                        0,
                        source.x(),
                        source.cols(),
                        source.offsets(),
                        CudaFunction.orNull(source.starts()),
                        source.groups().count(),
                        source.groups().rows(),
                        CudaFunction.orNull(amax),
                        values,
                        scale,
                        sums);
    }

    /**
     * Whether both operands can be made of values that are never stored: alike, with a factor a group or vectors, and
     * without statistics.
     */
    static boolean takesUnstored(OperandCopy rows, OperandCopy columns) {
        return rows.probe() == null
                && columns.probe() == null
                && rows.spec().equals(columns.spec())
                && (rows.spec().equals(WHOLE) || rows.spec().equals(VECTORS));
    }

    /** Room for the largest magnitude of each group, which {@link #ragged} clears; null where factors need none. */
    static @Nullable CudaTensor groupAmax(OperandCopy rows, RowGroups groups, CudaTensorScope work) {
        return isWhole(rows) ? work.allocate(DType.FP32, groups.count()) : null;
    }

    /** Part of kernel names. */
    static String scaling(OperandSpec spec) {
        return switch (spec.blocks()) {
            case TENSOR -> "group";
            case B1X128 -> "vectors";
            case B128X128 -> "squares";
            case NONE, B1X16, B16X16, B1X32 -> throw new IllegalArgumentException("no FP8 operand: " + spec);
        };
    }

    private static boolean isWhole(@Nullable OperandCopy copy) {
        return copy != null && copy.spec().blocks() == Blocks.TENSOR;
    }

    private static boolean isMeasured(@Nullable OperandCopy copy) {
        return copy != null && copy.probe() != null;
    }

    static Object codes(@Nullable Codes codes) {
        return codes == null ? CudaFunction.NULL : codes.codes();
    }

    static Object scale(@Nullable Codes codes) {
        return codes == null ? CudaFunction.NULL : CudaFunction.orNull(codes.scale());
    }

    private static CudaTensor scales(int count, OperandCopy copy) {
        return CudaTensor.of(copy.scope().allocate(DType.FP32, count));
    }

    /** Uninitialized bytes in INT32 words. */
    private static CudaTensor bytes(TensorScope scope, long count) {
        return CudaTensor.of(scope.allocate(DType.INT32, Shape.flat(count / 4)));
    }
}
