package io.fourfold.kernels.cuda;

import io.fourfold.kernels.cuda.Fp8Encoder.Both;
import io.fourfold.kernels.cuda.Fp8Encoder.Codes;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * E4M3 operands, codes and factors bit-equal to the CPU oracle: with one factor a matrix or group (current scaling), with
 * vectors of 128 along K (tokens), or with squares of 128 (weights). They become bytes for the FP8 tensor cores of Hopper
 * where their sizes allow it, else values for the other products. Of two copies, both or one may be asked for.
 */
final class Fp8Quantizer {
    private final Fp8Encoder encoder;
    private final boolean hopper;

    Fp8Quantizer(CudaRuntime cuda) {
        encoder = new Fp8Encoder(cuda);
        hopper = cuda.device().architecture() == 90;
    }

    /** One or both operands; one that was not asked for is null. */
    record Made<O>(@Nullable O rows, @Nullable O columns) {
        /** The only one. */
        O one() {
            return Objects.requireNonNull(rows == null ? columns : rows);
        }

        OperandPair<O> pair() {
            return new OperandPair<>(Objects.requireNonNull(rows), Objects.requireNonNull(columns));
        }
    }

    /** x [rows, cols]. */
    Made<GemmOperand> dense(
            CudaTensor x, @Nullable OperandCopy rows, @Nullable OperandCopy columns, AmaxSource largest) {
        int height = x.shape().rows();
        int width = x.shape().cols();
        int stride = Fp8Source.roundUp(height, Fp8Source.TILE);
        Fp8Source source = Fp8Source.equal(x, width, RowGroups.equal(1, height), stride);
        boolean bytes = takesBytes(x, width);
        Both made = make(source, bytes, rows, columns, largest);
        return new Made<>(
                made.rows() == null ? null : dense(made.rows(), bytes, height, width, width, false, rows),
                made.columns() == null ? null : dense(made.columns(), bytes, width, height, stride, true, columns));
    }

    private static GemmOperand dense(
            Codes codes,
            boolean bytes,
            int rows,
            int depth,
            int stride,
            boolean byColumns,
            @Nullable OperandCopy copy) {
        var spec = Objects.requireNonNull(copy).spec();
        return bytes
                ? new CudaFp8Operand(
                        spec, rows, depth, codes.codes(), stride, byColumns, Objects.requireNonNull(codes.scale()))
                : new CudaOperand(spec, rows, depth, codes.codes(), byColumns, codes.scale());
    }

    /** Weights [groups, rows, cols]. */
    Made<GroupedOperand> stacked(
            CudaTensor x, @Nullable OperandCopy rows, @Nullable OperandCopy columns, AmaxSource largest) {
        int groups = x.dim(0);
        int height = x.dim(1);
        int width = x.dim(2);
        Fp8Source source = Fp8Source.equal(x, width, RowGroups.equal(groups, height), height);
        boolean bytes = takesBytes(x, width)
                && height % Fp8Source.UNIT == 0
                && !has(Blocks.B1X128, rows)
                && !has(Blocks.B1X128, columns);
        Both made = make(source, bytes, rows, columns, largest);
        return new Made<>(
                made.rows() == null ? null : stacked(made.rows(), bytes, groups, height, width, false, rows),
                made.columns() == null ? null : stacked(made.columns(), bytes, groups, width, height, true, columns));
    }

    private static GroupedOperand stacked(
            Codes codes,
            boolean bytes,
            int groups,
            int width,
            int depth,
            boolean byColumns,
            @Nullable OperandCopy copy) {
        var spec = Objects.requireNonNull(copy).spec();
        return bytes
                ? new CudaFp8GroupedOperand(
                        Layout.STACKED,
                        spec,
                        groups,
                        codes.codes(),
                        0,
                        width,
                        depth,
                        depth,
                        byColumns,
                        null,
                        null,
                        Objects.requireNonNull(codes.scale()))
                : new CudaGroupedOperand(
                        Layout.STACKED,
                        spec,
                        groups,
                        codes.codes(),
                        width,
                        depth,
                        byColumns,
                        null,
                        false,
                        codes.scale());
    }

    /** Tokens x [R, cols], split by offsets. */
    Made<GroupedOperand> ragged(
            CudaTensor x,
            RowGroups groups,
            @Nullable OperandCopy rows,
            @Nullable OperandCopy columns,
            AmaxSource largest) {
        int cols = x.shape().cols();
        OperandCopy lasting = Objects.requireNonNull(columns != null ? columns : rows);
        Fp8Source source = encoder.ragged(x, cols, groups, lasting.scope(), null);
        boolean bytes = takesBytes(x, cols) && !has(Blocks.B128X128, rows) && !has(Blocks.B128X128, columns);
        Both made = make(source, bytes, rows, columns, largest);
        return new Made<>(
                made.rows() == null ? null : ragged(made.rows(), bytes, source, false, rows),
                made.columns() == null ? null : ragged(made.columns(), bytes, source, true, columns));
    }

    /** Tokens whose bytes are made. */
    static OperandPair<GroupedOperand> pair(Both made, Fp8Source source, OperandCopy rows, OperandCopy columns) {
        return new OperandPair<>(
                ragged(Objects.requireNonNull(made.rows()), true, source, false, rows),
                ragged(Objects.requireNonNull(made.columns()), true, source, true, columns));
    }

    private static GroupedOperand ragged(
            Codes codes, boolean bytes, Fp8Source source, boolean byColumns, @Nullable OperandCopy copy) {
        var spec = Objects.requireNonNull(copy).spec();
        Layout layout = byColumns ? Layout.RAGGED_DEPTH : Layout.RAGGED_ROWS;
        RowGroups groups = source.groups();
        int width = byColumns ? source.cols() : 0;
        int depth = byColumns ? 0 : source.cols();
        return bytes
                ? new CudaFp8GroupedOperand(
                        layout,
                        spec,
                        groups.count(),
                        codes.codes(),
                        groups.totalRows(),
                        width,
                        depth,
                        byColumns ? source.stride() : source.cols(),
                        byColumns,
                        groups.offsets(),
                        byColumns ? source.starts() : null,
                        Objects.requireNonNull(codes.scale()))
                : new CudaGroupedOperand(
                        layout,
                        spec,
                        groups.count(),
                        codes.codes(),
                        width,
                        depth,
                        byColumns,
                        groups.offsets(),
                        false,
                        codes.scale());
    }

    private Both make(
            Fp8Source source,
            boolean bytes,
            @Nullable OperandCopy rows,
            @Nullable OperandCopy columns,
            AmaxSource largest) {
        if (bytes && (rows == null || columns == null || rows.spec().equals(columns.spec()))) {
            return encoder.bytes(source, rows, columns, largest);
        }
        Codes byRows = rows == null ? null : one(source, bytes, false, rows, largest);
        return new Both(byRows, columns == null ? null : one(source, bytes, true, columns, largest));
    }

    private @Nullable Codes one(
            Fp8Source source, boolean bytes, boolean byColumns, OperandCopy copy, AmaxSource largest) {
        if (!bytes) {
            return encoder.values(source, byColumns, copy, largest);
        }
        return byColumns
                ? encoder.bytes(source, null, copy, largest).columns()
                : encoder.bytes(source, copy, null, largest).rows();
    }

    private static boolean has(Blocks blocks, @Nullable OperandCopy copy) {
        return copy != null && copy.spec().blocks() == blocks;
    }

    private boolean takesBytes(CudaTensor x, int cols) {
        return hopper && cols % Fp8Source.UNIT == 0 && x.elements() > 0 && x.address() % Fp8Source.UNIT == 0;
    }
}
