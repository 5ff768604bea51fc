package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Launches of {@code nvfp4_weights.cu}: FP32 weights in tiles of 16 x 16, amax and values by one launch. Calls must be ordered
 * on one stream with those of {@link Nvfp4Pair}, whose counters they use.
 */
final class Nvfp4Weights {
    private static final int BLOCK = 256;

    private final CudaRuntime cuda;
    private final Nvfp4Emulation emulation;
    private final CudaTensor state;

    Nvfp4Weights(CudaRuntime cuda, Nvfp4Emulation emulation, CudaTensor state) {
        this.cuda = cuda;
        this.emulation = emulation;
        this.state = state;
    }

    /** Whether these weights can be made by one launch. */
    private static boolean supports(CudaTensor x, RowGroups groups, OperandSpec spec) {
        return spec.blocks() == Blocks.B16X16
                && spec.rounding() == Rounding.NEAREST_EVEN
                && !spec.hadamard()
                && x.dtype() == DType.FP32
                && groups.offsets() == null
                && groups.rows() % 16 == 0
                && x.shape().cols() % 16 == 0
                && x.address() % 16 == 0
                && groups.count() <= TileQueue.MOST_GROUPS;
    }

    /**
     * Any operand, by one launch where it is one of those; parameters as those of {@link Nvfp4Emulation#quantize}.
     *
     * @param largest where the magnitudes come from; known ones save the launch its first pass
     */
    Nvfp4Emulation.Result quantize(
            CudaTensor x,
            int cols,
            RowGroups groups,
            boolean byColumns,
            OperandSpec spec,
            @Nullable RandomStream random,
            int firstTensorId,
            @Nullable QuantProbe probe,
            AmaxSource largest,
            TensorScope scope) {
        AmaxExchange exchange = largest.exchange();
        if (probe != null || exchange != null || !supports(x, groups, spec)) {
            return emulation.quantize(x, cols, groups, byColumns, spec, random, firstTensorId, probe, exchange, scope);
        }
        CudaTensor values = CudaTensor.of(scope.allocate(DType.BF16, Shape.of(groups.totalRows(), cols)));
        CudaTensor scale = CudaTensor.of(scope.allocate(DType.FP32, groups.count()));
        TileQueue queue = TileQueue.of(cuda, x, groups, largest.known() == null ? 2 : 1);
        cuda.function("nvfp4_weights", spec.formula() == ScaleFormula.PAPER ? "nvfp4_weights_paper" : "nvfp4_weights")
                .launchLine(
                        queue.grid(),
                        BLOCK,
                        x,
                        cols,
                        groups.count(),
                        groups.rows(),
                        state,
                        queue.strip(),
                        queue.ahead(),
                        CudaFunction.orNull(largest.known()),
                        scale,
                        values);
        return new Nvfp4Emulation.Result(values, scale);
    }
}
