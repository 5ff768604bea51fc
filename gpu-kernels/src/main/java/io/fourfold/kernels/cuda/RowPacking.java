package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;

import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Locale;

/** Launches of {@code row_packing.cu}: token rows packed for the way to their experts, bit-equal to the CPU oracle. */
final class RowPacking {
    private static final String FILE = "row_packing";
    private static final int THREADS = 256;
    /** Threads that share a row at most, each with 16 of its columns in registers. */
    private static final int ROW_THREADS = 512;

    private static final int WARP = 32;
    /** Columns of a thread. */
    private static final int VECTOR = 8;
    /** Scale blocks (FP8) that a block of threads packs: two for each half warp; it unpacks four. */
    private static final int FP8_PACK_UNITS = THREADS / 16 * 2;

    private static final int FP8_UNPACK_UNITS = THREADS / 16 * 4;

    private static final int NVFP4_UNITS = THREADS * 4;

    private final CudaRuntime cuda;

    RowPacking(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** {@link io.fourfold.kernels.op.MoeOps#packRows}. */
    void pack(Tensor x, RowFormat format, Tensor packed) {
        CudaTensor from = CudaTensor.of(x);
        int rows = from.shape().rows();
        int cols = from.shape().cols();
        CudaTensor to = int32(packed, "packed", (long) rows * format.words(cols));
        CudaFunction function = cuda.function(FILE, kernel("pack_rows" + suffix(format), from));
        if (format == RowFormat.NVFP4) {
            int threads = Math.min(ROW_THREADS, Math.max(1, blocks(cols, WARP * 2 * VECTOR)) * WARP);
            function.launchLine(rows, threads, from, rows, cols, to);
        } else {
            function.launchLine(fp8Blocks(rows, cols, FP8_PACK_UNITS), THREADS, from, rows, cols, to);
        }
    }

    /** {@link io.fourfold.kernels.op.MoeOps#unpackRows}. */
    void unpack(Tensor packed, RowFormat format, Tensor out) {
        CudaTensor to = CudaTensor.of(out);
        int rows = to.shape().rows();
        int cols = to.shape().cols();
        CudaTensor from = int32(packed, "packed", (long) rows * format.words(cols));
        int grid = format == RowFormat.NVFP4
                ? blocks((long) rows * blocks(cols, VECTOR), NVFP4_UNITS)
                : fp8Blocks(rows, cols, FP8_UNPACK_UNITS);
        cuda.function(FILE, kernel("unpack_rows" + suffix(format), to)).launchLine(grid, THREADS, from, rows, cols, to);
    }

    private static int fp8Blocks(int rows, int cols, int units) {
        return blocks((long) rows * blocks(cols, RowFormat.FP8.block()), units);
    }

    private static String suffix(RowFormat format) {
        return "_" + format.name().toLowerCase(Locale.ROOT);
    }
}
