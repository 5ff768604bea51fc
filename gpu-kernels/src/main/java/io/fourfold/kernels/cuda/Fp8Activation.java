package io.fourfold.kernels.cuda;

import io.fourfold.kernels.cuda.Fp8Encoder.Both;
import io.fourfold.kernels.cuda.Fp8Encoder.Codes;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.tensor.DType;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code fp8_activation.cu}: SwiGLU and its backward straight into FP8 operands with factors of vectors, the same
 * bits as through BF16 in memory.
 */
final class Fp8Activation {
    private static final String FILE = "fp8_activation";
    private static final int BLOCK = 256;
    private static final int WAITING_BYTES = 32 << 10;

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
                && isVectors(rows)
                && isVectors(columns);
    }

    /** Both operands of the activated rows. */
    OperandPair<GroupedOperand> forward(
            CudaTensor in, @Nullable CudaTensor probability, RowGroups groups, OperandCopy rows, OperandCopy columns) {
        int width = in.shape().cols() / 2;
        Fp8Source source = encoder.ragged(in, width, groups, columns.scope());
        Both both = Fp8Encoder.allocate(source, rows, columns);
        cuda.function(FILE, "fp8_swiglu")
                .launch(
                        source.tiles(),
                        source.columnTiles(),
                        1,
                        BLOCK,
                        0,
                        in,
                        CudaFunction.orNull(probability),
                        width,
                        source.offsets(),
                        CudaFunction.orNull(source.starts()),
                        groups.count(),
                        Fp8Encoder.codes(both.rows()),
                        Fp8Encoder.codes(both.columns()),
                        Fp8Encoder.scale(both.rows()),
                        Fp8Encoder.scale(both.columns()),
                        groups.totalRows(),
                        source.stride());
        return pair(both, source, rows, columns);
    }

    /** Both operands of the gradient of {@code in}, and the probability's gradient. */
    OperandPair<GroupedOperand> backward(
            CudaTensor dout,
            CudaTensor in,
            @Nullable CudaTensor probability,
            CudaTensor dprobability,
            RowGroups groups,
            OperandCopy rows,
            OperandCopy columns) {
        int cols = in.shape().cols();
        int tiles = cols / 2 / Fp8Source.TILE;
        Fp8Source source = encoder.ragged(in, cols, groups, columns.scope());
        Both both = Fp8Encoder.allocate(source, rows, columns);
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
                            in,
                            CudaFunction.orNull(probability),
                            cols / 2,
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
        return pair(both, source, rows, columns);
    }

    private static OperandPair<GroupedOperand> pair(
            Both both, Fp8Source source, OperandCopy rows, OperandCopy columns) {
        Codes byRows = Objects.requireNonNull(both.rows());
        Codes byColumns = Objects.requireNonNull(both.columns());
        return new OperandPair<>(
                Fp8Quantizer.ragged(byRows, true, source, false, rows),
                Fp8Quantizer.ragged(byColumns, true, source, true, columns));
    }

    private static boolean isVectors(OperandCopy copy) {
        return copy.probe() == null && copy.spec().equals(OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128));
    }
}
