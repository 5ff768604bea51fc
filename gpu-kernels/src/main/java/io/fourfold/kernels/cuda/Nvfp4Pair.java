package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code nvfp4_fused.cu}: the operand by rows and the transformed operand by columns of one matrix, by one launch
 * and with at most two reads. Calls must be ordered on one stream, for they share counters.
 */
final class Nvfp4Pair {
    /**
     * The two operands; either {@code columnValues} or {@code columns} is there.
     *
     * @param rowValues BF16 [rows, cols]
     * @param rowScale FP32 [groups]
     * @param columnValues BF16 [16 * blocks, cols]
     * @param padded INT32 [groups + 1], where each group's blocks begin; null for a whole matrix
     * @param columnScale FP32 [groups]
     */
    private record Result(
            CudaTensor rowValues,
            CudaTensor rowScale,
            @Nullable CudaTensor columnValues,
            @Nullable Nvfp4Columns columns,
            @Nullable CudaTensor padded,
            CudaTensor columnScale) {}

    private static final String FILE = "nvfp4_fused";
    private static final int BLOCK = 256;

    private final CudaRuntime cuda;
    private final Nvfp4Emulation single;
    private final CudaTensor state;

    Nvfp4Pair(CudaRuntime cuda, Nvfp4Emulation single) {
        this.cuda = cuda;
        this.single = single;
        state = cuda.memory().scope(Region.WORKSPACE).zeros(DType.INT32, TileQueue.STATE_WORDS);
    }

    /** The counters of the kernels that walk tiles of groups, zero between launches. */
    CudaTensor state() {
        return state;
    }

    /** Whether these operands can be made together. */
    static boolean supports(CudaTensor x, int groups, OperandCopy rows, OperandCopy columns) {
        OperandSpec spec = rows.spec();
        return spec.format() == Format.NVFP4
                && spec.blocks() == Blocks.B1X16
                && !spec.hadamard()
                && columns.spec().equals(spec.withHadamard(true))
                && sameStream(rows.random(), columns.random())
                && x.dtype() == DType.BF16
                && x.shape().cols() % 16 == 0
                && x.address() % 16 == 0
                && groups <= TileQueue.MOST_GROUPS;
    }

    private static boolean sameStream(@Nullable RandomStream a, @Nullable RandomStream b) {
        return a == null ? b == null : a.equals(b);
    }

    /** Both operands of a matrix. */
    OperandPair<GemmOperand> whole(
            CudaTensor x, OperandCopy rows, OperandCopy columns, @Nullable AmaxExchange exchange) {
        int count = x.shape().rows();
        int cols = x.shape().cols();
        int id = rows.random() == null ? 0 : rows.random().tensorId();
        Result made = quantize(x, RowGroups.equal(1, count), rows, columns, id, exchange);
        GemmOperand byRows = new CudaOperand(rows.spec(), count, cols, made.rowValues, false, made.rowScale);
        CudaTensor values = made.columnValues;
        GemmOperand byColumns = values == null
                ? new CudaPackedOperand(columns.spec(), Objects.requireNonNull(made.columns), made.columnScale)
                : new CudaOperand(columns.spec(), cols, values.dim(0), values, true, made.columnScale);
        return new OperandPair<>(byRows, byColumns);
    }

    /**
     * Both operands of tokens divided by offsets.
     *
     * @param firstGroup global index of group 0, for the random stream
     */
    OperandPair<GroupedOperand> ragged(
            CudaTensor x,
            RowGroups groups,
            int firstGroup,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        int count = groups.count();
        int cols = x.shape().cols();
        int id = rows.random() == null ? 0 : rows.random().tensorId() + firstGroup;
        Result made = quantize(x, groups, rows, columns, id, exchange);
        GroupedOperand byRows = new CudaGroupedOperand(
                Layout.RAGGED_ROWS,
                rows.spec(),
                count,
                made.rowValues,
                0,
                cols,
                false,
                groups.offsets(),
                false,
                made.rowScale);
        CudaTensor values = made.columnValues;
        GroupedOperand byColumns = values == null
                ? new CudaPackedGroupedOperand(columns.spec(), Objects.requireNonNull(made.columns), made.columnScale)
                : new CudaGroupedOperand(
                        Layout.RAGGED_DEPTH,
                        columns.spec(),
                        count,
                        values,
                        cols,
                        0,
                        true,
                        made.padded,
                        true,
                        made.columnScale);
        return new OperandPair<>(byRows, byColumns);
    }

    /** Statistics are gathered by launches of their own, whose values nobody uses. */
    private void measure(
            CudaTensor x,
            RowGroups groups,
            boolean byColumns,
            OperandCopy copy,
            int firstTensorId,
            @Nullable AmaxExchange exchange) {
        if (copy.probe() == null) {
            return;
        }
        try (CudaTensorScope work = cuda.workspace()) {
            single.quantize(
                    x,
                    x.shape().cols(),
                    counted(groups, work),
                    byColumns,
                    copy.spec(),
                    copy.random(),
                    firstTensorId,
                    copy.probe(),
                    exchange,
                    work);
        }
    }

    private RowGroups counted(RowGroups groups, CudaTensorScope work) {
        return groups.offsets() == null
                ? groups
                : RowGroups.ragged(cuda, groups.offsets(), groups.count(), groups.totalRows(), true, work);
    }

    /**
     * @param firstTensorId stream number of group 0
     */
    private Result quantize(
            CudaTensor x,
            RowGroups groups,
            OperandCopy rows,
            OperandCopy columns,
            int firstTensorId,
            @Nullable AmaxExchange exchange) {
        measure(x, groups, false, rows, firstTensorId, exchange);
        measure(x, groups, true, columns, firstTensorId, exchange);
        int cols = x.shape().cols();
        int blocks = groups.maxBlocks();
        CudaTensor rowValues = CudaTensor.of(rows.scope().allocate(DType.BF16, Shape.of(groups.totalRows(), cols)));
        CudaTensor rowScale = CudaTensor.of(rows.scope().allocate(DType.FP32, groups.count()));
        CudaTensor columnScale = CudaTensor.of(columns.scope().allocate(DType.FP32, groups.count()));
        CudaTensor padded = groups.offsets() == null
                ? null
                : CudaTensor.of(columns.scope().allocate(DType.INT32, groups.count() + 1));
        CudaTensor values = null;
        Nvfp4Columns packed = null;
        if (columns.kept()) {
            packed = Nvfp4Columns.allocate(blocks, cols, groups.count(), padded, columns.scope());
        } else {
            values = CudaTensor.of(columns.scope().allocate(DType.BF16, Shape.of(blocks * 16, cols)));
        }
        Result result = new Result(rowValues, rowScale, values, packed, padded, columnScale);
        if (exchange != null) {
            exchangeAmax(x, groups, rows.spec(), columns.spec(), exchange);
        }
        launch(x, groups, rows, firstTensorId, exchange != null, result);
        return result;
    }

    private void exchangeAmax(
            CudaTensor x, RowGroups groups, OperandSpec rows, OperandSpec columns, AmaxExchange exchange) {
        try (CudaTensorScope work = cuda.workspace()) {
            RowGroups counted = counted(groups, work);
            for (int copy = 0; copy < 2; copy++) {
                CudaTensor words =
                        state.view(TileQueue.AMAX_WORD + (long) copy * TileQueue.MOST_GROUPS, Shape.of(groups.count()));
                CudaTensor amax = new CudaTensor(DType.FP32, words.shape(), words.address());
                single.findAmax(x, counted, copy == 0 ? rows : columns, amax);
                exchange.largest(amax);
            }
        }
    }

    private void launch(
            CudaTensor x, RowGroups groups, OperandCopy rows, int firstTensorId, boolean given, Result result) {
        int cols = x.shape().cols();
        RandomStream random = rows.random();
        boolean stochastic = rows.spec().rounding() == Rounding.STOCHASTIC;
        Nvfp4Columns packed = result.columns();
        String name = "nvfp4_both_" + (packed == null ? "values" : "packed") + (stochastic ? "_sr" : "")
                + (rows.spec().formula() == ScaleFormula.PAPER ? "_paper" : "");
        TileQueue queue = TileQueue.of(cuda, x, groups, given ? 1 : 2);
        cuda.function(FILE, name)
                .launchLine(
                        queue.grid(),
                        BLOCK,
                        x,
                        cols,
                        CudaFunction.orNull(groups.offsets()),
                        groups.count(),
                        groups.rows(),
                        state,
                        queue.strip(),
                        queue.ahead(),
                        given ? 1 : 0,
                        random == null ? 0L : random.seed(),
                        random == null ? 0 : random.step(),
                        firstTensorId,
                        random == null || random.rowIds() == null ? CudaFunction.NULL : CudaTensor.of(random.rowIds()),
                        Nvfp4Emulation.columnGroups(random, cols),
                        result.rowScale(),
                        result.columnScale(),
                        CudaFunction.orNull(result.padded()),
                        result.rowValues(),
                        packed == null ? CudaFunction.orNull(result.columnValues()) : packed.codes(),
                        packed == null ? CudaFunction.NULL : packed.scales());
    }
}
