package io.fourfold.kernels.cuda;

import io.fourfold.kernels.cuda.Fp8Encoder.Both;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.tensor.DType;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code fp8_spread.cu}: FP8 operands of rows that are copies of tokens, without the copies; the same bits as of
 * rows in memory.
 */
final class Fp8Spread {
    private static final String FILE = "fp8_spread";
    private static final int BLOCK = 256;
    private static final int TOKENS_PER_BLOCK = 8;
    private static final int ROWS_PER_BLOCK = 2048;

    private final CudaRuntime cuda;
    private final Fp8Encoder encoder;
    private final boolean hopper;

    Fp8Spread(CudaRuntime cuda) {
        this.cuda = cuda;
        encoder = new Fp8Encoder(cuda);
        hopper = cuda.device().architecture() == 90;
    }

    /** Whether there is a kernel: BF16 tokens whose rows are whole units of bytes, no statistics. */
    boolean takes(CudaTensor x, OperandCopy rows, OperandCopy columns) {
        return hopper
                && x.dtype() == DType.BF16
                && x.elements() > 0
                && x.shape().cols() % Fp8Source.UNIT == 0
                && x.address() % Fp8Source.UNIT == 0
                && Fp8Encoder.takesUnstored(rows, columns);
    }

    /**
     * Both operands of the rows x[slotOfRow[r] / k, :].
     *
     * @param groups of the rows, split by offsets
     * @param exchange called where there is a factor for each group
     */
    OperandPair<GroupedOperand> spread(
            CudaTensor x,
            CudaTensor slotOfRow,
            int k,
            RowGroups groups,
            OperandCopy rows,
            OperandCopy columns,
            @Nullable AmaxExchange exchange) {
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor amax = Fp8Encoder.groupAmax(rows, groups, work);
            Fp8Source source = encoder.ragged(x, x.shape().cols(), groups, columns.scope(), amax);
            Both both = Fp8Encoder.allocate(source, rows, columns);
            if (amax != null) {
                raise(amax, slotOfRow, k, source, work);
                if (exchange != null) {
                    exchange.largest(amax);
                }
            }
            cuda.function(FILE, "fp8_spread_" + Fp8Encoder.scaling(rows.spec()))
                    .launch(
                            source.tiles(),
                            source.columnTiles(),
                            1,
                            BLOCK,
                            0,
                            x,
                            x.shape().rows(),
                            slotOfRow,
                            k,
                            source.cols(),
                            source.offsets(),
                            CudaFunction.orNull(source.starts()),
                            groups.count(),
                            CudaFunction.orNull(amax),
                            Fp8Encoder.codes(both.rows()),
                            Fp8Encoder.codes(both.columns()),
                            Fp8Encoder.scale(both.rows()),
                            Fp8Encoder.scale(both.columns()),
                            groups.totalRows(),
                            source.stride());
            return Fp8Quantizer.pair(both, source, rows, columns);
        }
    }

    /** Raises the zeros of {@code amax} to the largest magnitude of each group, from those of the tokens. */
    private void raise(CudaTensor amax, CudaTensor slotOfRow, int k, Fp8Source source, CudaTensorScope work) {
        RowGroups groups = source.groups();
        CudaTensor x = source.x();
        int tokens = x.shape().rows();
        CudaTensor ofTokens = work.allocate(DType.FP32, tokens);
        cuda.function(FILE, "token_amax")
                .launchLine(Fp8Source.ceil(tokens, TOKENS_PER_BLOCK), BLOCK, x, tokens, source.cols(), ofTokens);
        cuda.function(FILE, "spread_group_amax")
                .launchLine(
                        Fp8Source.ceil(groups.totalRows(), ROWS_PER_BLOCK),
                        BLOCK,
                        ofTokens,
                        tokens,
                        slotOfRow,
                        k,
                        groups.totalRows(),
                        source.offsets(),
                        groups.count(),
                        amax);
    }
}
