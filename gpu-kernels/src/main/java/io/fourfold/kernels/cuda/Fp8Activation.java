package io.fourfold.kernels.cuda;

import io.fourfold.kernels.cuda.Fp8Encoder.Both;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.tensor.DType;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code fp8_activation.cu} and {@code fp8_activation_group.cu}: SwiGLU and its backward straight into FP8
 * operands, with factors of vectors in one pass or with one factor a group in two; the same bits as through BF16 in memory.
 */
final class Fp8Activation {
    private static final String FILE = "fp8_activation";
    private static final String GROUP_FILE = "fp8_activation_group";
    private static final int BLOCK = 256;
    private static final int WAITING_BYTES = 32 << 10;
    private static final int AMAX_ROWS = 32;

    private final CudaRuntime cuda;
    private final Fp8Encoder encoder;
    private final boolean hopper;

    Fp8Activation(CudaRuntime cuda) {
        this.cuda = cuda;
        encoder = new Fp8Encoder(cuda);
        hopper = cuda.device().architecture() == 90;
    }

    /** Whether there is a kernel: SwiGLU of BF16 rows, a width of whole vectors, no statistics. */
    boolean takes(Activation kind, CudaTensor in, OperandCopy rows, OperandCopy columns) {
        return hopper
                && kind == Activation.SWIGLU
                && in.dtype() == DType.BF16
                && in.elements() > 0
                && in.shape().cols() % (2 * Fp8Source.TILE) == 0
                && in.address() % Fp8Source.UNIT == 0
                && Fp8Encoder.takesUnstored(rows, columns);
    }

    /**
     * Both operands of the activated rows.
     *
     * @param exchange called where there is a factor for each group
     */
    OperandPair<GroupedOperand> forward(
            CudaTensor in,
            @Nullable CudaTensor probability,
            RowGroups groups,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        int width = in.shape().cols() / 2;
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor amax = Fp8Encoder.groupAmax(rows, groups, work);
            Fp8Source source = encoder.ragged(in, width, groups, columns.scope(), amax);
            Both both = Fp8Encoder.allocate(source, rows, columns);
            if (amax != null) {
                wholeForward(source, probability, both, amax, exchange);
            } else {
                vectorsForward(source, probability, both);
            }
            return Fp8Quantizer.pair(both, source, rows, columns);
        }
    }

    private void vectorsForward(Fp8Source source, @Nullable CudaTensor probability, Both both) {
        cuda.function(FILE, "fp8_swiglu")
                .launch(
                        source.tiles(),
                        source.columnTiles(),
                        1,
                        BLOCK,
                        0,
                        source.x(),
                        CudaFunction.orNull(probability),
                        source.cols(),
                        source.offsets(),
                        CudaFunction.orNull(source.starts()),
                        source.groups().count(),
                        Fp8Encoder.codes(both.rows()),
                        Fp8Encoder.codes(both.columns()),
                        Fp8Encoder.scale(both.rows()),
                        Fp8Encoder.scale(both.columns()),
                        source.groups().totalRows(),
                        source.stride());
    }

    private void wholeForward(
            Fp8Source source,
            @Nullable CudaTensor probability,
            Both both,
            CudaTensor amax,
            @Nullable AmaxExchange exchange) {
        RowGroups groups = source.groups();
        int width = source.cols();
        cuda.function(GROUP_FILE, "fp8_group_swiglu_amax")
                .launchLine(
                        Fp8Source.ceil(groups.totalRows(), AMAX_ROWS),
                        BLOCK,
                        source.x(),
                        CudaFunction.orNull(probability),
                        groups.totalRows(),
                        width,
                        source.offsets(),
                        groups.count(),
                        amax);
        if (exchange != null) {
            exchange.largest(amax);
        }
        cuda.function(GROUP_FILE, "fp8_group_swiglu")
                .launch(
                        source.tiles(),
                        source.columnTiles(),
                        1,
                        BLOCK,
                        0,
                        source.x(),
                        CudaFunction.orNull(probability),
                        width,
                        source.offsets(),
                        CudaFunction.orNull(source.starts()),
                        groups.count(),
                        amax,
                        Fp8Encoder.codes(both.rows()),
                        Fp8Encoder.codes(both.columns()),
                        Fp8Encoder.scale(both.rows()),
                        Fp8Encoder.scale(both.columns()),
                        groups.totalRows(),
                        source.stride());
    }

    /**
     * Both operands of the gradient of {@code in}, and the probability's gradient.
     *
     * @param exchange called where there is a factor for each group
     */
    OperandPair<GroupedOperand> backward(
            CudaTensor dout,
            CudaTensor in,
            @Nullable CudaTensor probability,
            CudaTensor dprobability,
            RowGroups groups,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor amax = Fp8Encoder.groupAmax(rows, groups, work);
            Fp8Source source = encoder.ragged(in, in.shape().cols(), groups, columns.scope(), amax);
            Both both = Fp8Encoder.allocate(source, rows, columns);
            if (amax != null) {
                wholeBackward(dout, source, probability, dprobability, both, amax, exchange);
            } else {
                vectorsBackward(dout, source, probability, dprobability, both);
            }
            return Fp8Quantizer.pair(both, source, rows, columns);
        }
    }

    private void wholeBackward(
            CudaTensor dout,
            Fp8Source source,
            @Nullable CudaTensor probability,
            CudaTensor dprobability,
            Both both,
            CudaTensor amax,
            @Nullable AmaxExchange exchange) {
        RowGroups groups = source.groups();
        int width = source.cols() / 2;
        cuda.function(GROUP_FILE, "fp8_group_swiglu_backward_amax")
                .launchLine(
                        Fp8Source.ceil(groups.totalRows(), AMAX_ROWS),
                        BLOCK,
                        dout,
                        source.x(),
                        CudaFunction.orNull(probability),
                        groups.totalRows(),
                        width,
                        source.offsets(),
                        groups.count(),
                        amax,
                        dprobability);
        if (exchange != null) {
            exchange.largest(amax);
        }
        cuda.function(GROUP_FILE, "fp8_group_swiglu_backward")
                .launch(
                        source.tiles(),
                        width / Fp8Source.TILE,
                        1,
                        BLOCK,
                        0,
                        dout,
                        source.x(),
                        CudaFunction.orNull(probability),
                        width,
                        source.offsets(),
                        CudaFunction.orNull(source.starts()),
                        groups.count(),
                        amax,
                        Fp8Encoder.codes(both.rows()),
                        Fp8Encoder.codes(both.columns()),
                        Fp8Encoder.scale(both.rows()),
                        Fp8Encoder.scale(both.columns()),
                        groups.totalRows(),
                        source.stride());
    }

    private void vectorsBackward(
            CudaTensor dout, Fp8Source source, @Nullable CudaTensor probability, CudaTensor dprobability, Both both) {
        RowGroups groups = source.groups();
        int width = source.cols() / 2;
        int tiles = width / Fp8Source.TILE;
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.FP32, tiles, groups.totalRows());
            cuda.function(FILE, "fp8_swiglu_backward")
                    .launch(
                            source.tiles(),
                            tiles,
                            1,
                            BLOCK,
                            WAITING_BYTES,
                            dout,
                            source.x(),
                            CudaFunction.orNull(probability),
                            width,
                            partial,
                            source.offsets(),
                            CudaFunction.orNull(source.starts()),
                            groups.count(),
                            Fp8Encoder.codes(both.rows()),
                            Fp8Encoder.codes(both.columns()),
                            Fp8Encoder.scale(both.rows()),
                            Fp8Encoder.scale(both.columns()),
                            groups.totalRows(),
                            source.stride());
            cuda.function(FILE, "fp8_swiglu_probability")
                    .launchLine(
                            Fp8Source.ceil(groups.totalRows(), BLOCK),
                            BLOCK,
                            partial,
                            tiles,
                            groups.totalRows(),
                            source.offsets(),
                            groups.count(),
                            dprobability);
        }
    }
}
