package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import org.jspecify.annotations.Nullable;

/**
 * Launches of the grouped products: the Hopper tensor-core kernels for BF16 operands whose rows the copy engine can take,
 * the plain kernels for everything else. Offsets are read on the device.
 */
final class GroupedGemm implements AutoCloseable {
    private static final String TENSOR_CORES = "grouped_gemm_bf16_sm90a";
    private static final String PLAIN = "grouped_gemm_any";
    private static final int THREADS = 384;
    private static final int BOX = 64;
    private static final int BOX_ROWS_B = 128;
    private static final int BOX_COLS_C = 32;
    private static final int TILE_ROWS = 128;
    private static final int TILE_COLS = 256;
    /** One sum for each warp that computes a tile. */
    private static final int SQUARES_PER_TILE = 8;

    private static final int SUM_THREADS = 512;
    private static final int PLAIN_TILE = 64;
    private static final int PLAIN_THREADS = 256;

    private final CudaRuntime cuda;
    private final TensorMaps maps = new TensorMaps();
    private final CudaTensorScope scope;
    /** Two zeros: which tile comes next, and how many clusters are done; the kernels leave zeros behind. */
    private final CudaTensor queue;

    private final boolean hopper;
    private int rowsSharedBytes;
    private int depthSharedBytes;

    GroupedGemm(CudaRuntime cuda) {
        this.cuda = cuda;
        scope = cuda.memory().scope(Region.WORKSPACE);
        queue = scope.zeros(DType.INT32, 2);
        hopper = cuda.device().architecture() == 90;
    }

    /** C[r, n] = sum over k of A[r, k] * W_g(n, k), rows begins[g] .. ends[g] of each group. */
    void rows(CudaGroupedOperand a, CudaGroupedOperand w, CudaTensor c, CudaTensor begins, CudaTensor ends) {
        int rows = a.values().shape().rows();
        int cols = w.width();
        int depth = a.depth();
        if (rows == 0 || cols == 0) {
            return;
        }
        if (!hopper
                || !fits(a.values(), depth)
                || !fits(w.values(), w.depthMajor() ? cols : depth)
                || !fits(c, cols)
                || depth == 0) {
            plainRows(a, w, c, begins, ends, rows, cols, depth);
            return;
        }
        if (rowsSharedBytes == 0) {
            rowsSharedBytes = fprop().constant("grouped_gemm_rows_shared_bytes");
        }
        TensorMap mapA = maps.bf16(a.values().address(), rows, depth, BOX, BOX);
        long weights = w.values().address();
        int groups = a.groups();
        TensorMap mapW = w.depthMajor()
                ? maps.bf16(weights, Math.multiplyExact(groups, depth), cols, BOX, BOX)
                : maps.bf16(weights, Math.multiplyExact(groups, cols), depth, BOX_ROWS_B, BOX);
        CudaFunction function = w.depthMajor() ? cuda.function(TENSOR_CORES, "grouped_gemm_dgrad_bf16_sm90a") : fprop();
        function.launch(
                blocks(),
                1,
                1,
                THREADS,
                rowsSharedBytes,
                mapA,
                mapW,
                maps.bf16(c.address(), c.shape().rows(), cols, BOX, BOX),
                begins,
                ends,
                groups,
                cols,
                depth,
                CudaFunction.orNull(a.scale()),
                CudaFunction.orNull(w.scale()),
                c);
    }

    /**
     * C_g[m, n] (+)= sum over the group's rows r of A[r, m] * B[r, n].
     *
     * @param squares [G] squared norms of C_g, written by the kernels that can, when not accumulating
     * @return true when the squared norms have been written
     */
    boolean depth(
            CudaGroupedOperand a,
            CudaGroupedOperand b,
            CudaTensor c,
            CudaTensor offsets,
            boolean accumulate,
            @Nullable CudaTensor squares) {
        int groups = a.groups();
        int m = a.width();
        int n = b.width();
        int rows = a.values().shape().rows();
        if (groups == 0 || m == 0 || n == 0) {
            return false;
        }
        boolean tensorCores = hopper
                && fits(a.values(), m)
                && fits(b.values(), n)
                && c.dtype() == DType.FP32
                && n % 8 == 0
                && c.address() % 16 == 0
                && rows > 0;
        if (!tensorCores) {
            plainDepth(a, b, c, offsets, accumulate);
            return false;
        }
        CudaFunction function = cuda.function(
                TENSOR_CORES,
                accumulate ? "grouped_gemm_wgrad_fp32_accumulate_sm90a" : "grouped_gemm_wgrad_fp32_sm90a");
        if (depthSharedBytes == 0) {
            depthSharedBytes = function.constant("grouped_gemm_depth_shared_bytes");
        }
        try (CudaTensorScope work = cuda.workspace()) {
            boolean summing = squares != null && !accumulate;
            int parts = SQUARES_PER_TILE * CudaArguments.blocks(m, TILE_ROWS) * CudaArguments.blocks(n, TILE_COLS);
            CudaTensor partial = summing ? work.allocate(DType.FP32, groups, parts) : null;
            function.launch(
                    blocks(),
                    1,
                    1,
                    THREADS,
                    depthSharedBytes,
                    maps.bf16(a.values().address(), rows, m, BOX, BOX),
                    maps.bf16(b.values().address(), rows, n, BOX, BOX),
                    maps.fp32(c.address(), groups, m, n, BOX, BOX_COLS_C),
                    offsets,
                    groups,
                    m,
                    n,
                    CudaFunction.orNull(a.scale()),
                    CudaFunction.orNull(b.scale()),
                    CudaFunction.orNull(partial),
                    queue);
            if (partial != null && squares != null) {
                cuda.function("optimizer", "sum_parts").launchLine(groups, SUM_THREADS, partial, parts, squares);
            }
            return summing;
        }
    }

    @Override
    public void close() {
        scope.close();
        maps.close();
    }

    private void plainRows(
            CudaGroupedOperand a,
            CudaGroupedOperand w,
            CudaTensor c,
            CudaTensor begins,
            CudaTensor ends,
            int rows,
            int cols,
            int depth) {
        cuda.function(PLAIN, "grouped_rows" + suffix(a.values()) + suffix(w.values()) + suffix(c))
                .launch(
                        ceil(cols),
                        ceil(rows) + a.groups(),
                        1,
                        PLAIN_THREADS,
                        0,
                        a.values(),
                        w.values(),
                        begins,
                        ends,
                        a.groups(),
                        cols,
                        depth,
                        w.depthMajor() ? 1 : 0,
                        CudaFunction.orNull(a.scale()),
                        CudaFunction.orNull(w.scale()),
                        c);
    }

    private void plainDepth(
            CudaGroupedOperand a, CudaGroupedOperand b, CudaTensor c, CudaTensor offsets, boolean accumulate) {
        cuda.function(PLAIN, "grouped_depth" + suffix(a.values()) + suffix(b.values()) + suffix(c))
                .launch(
                        ceil(b.width()),
                        ceil(a.width()),
                        a.groups(),
                        PLAIN_THREADS,
                        0,
                        a.values(),
                        b.values(),
                        offsets,
                        a.width(),
                        b.width(),
                        CudaFunction.orNull(a.scale()),
                        CudaFunction.orNull(b.scale()),
                        c,
                        accumulate ? 1 : 0);
    }

    /** Clusters of two. */
    private int blocks() {
        return cuda.device().freeMultiprocessors() / 2 * 2;
    }

    private CudaFunction fprop() {
        return cuda.function(TENSOR_CORES, "grouped_gemm_fprop_bf16_sm90a");
    }

    /** The copy engine takes rows of whole 16-byte units. */
    private static boolean fits(CudaTensor tensor, int rowLength) {
        return tensor.dtype() == DType.BF16 && rowLength % 8 == 0 && tensor.address() % 16 == 0;
    }

    private static String suffix(CudaTensor tensor) {
        return tensor.dtype() == DType.FP32 ? "_fp32" : "_bf16";
    }

    private static int ceil(int size) {
        return (size + PLAIN_TILE - 1) / PLAIN_TILE;
    }
}
