package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.tensor.DType;
import org.jspecify.annotations.Nullable;

/** Launches of {@code grouped_gemm_fp8_sm90a.cu}: grouped products on Hopper's FP8 tensor cores. */
final class Fp8GroupedGemm implements AutoCloseable {
    private static final String FILE = "grouped_gemm_fp8_sm90a";
    private static final int THREADS = 384;
    private static final int BOX_BYTES = 128;
    private static final int BOX_ROWS_A = 64;
    private static final int BOX_ROWS_B = 128;
    private static final int BOX_COLS_C = 32;
    private static final int BOX_COLS_BF16 = 64;
    private static final int TILE_ROWS = 128;
    private static final int TILE_COLS = 256;
    private static final int SQUARES_PER_TILE = 8;
    private static final int SUM_THREADS = 512;

    private final CudaRuntime cuda;
    private final TensorMaps maps = new TensorMaps();
    private int rowsSharedBytes;
    private int rowsBlocksSharedBytes;
    private int depthSharedBytes;
    private int depthBlocksSharedBytes;

    Fp8GroupedGemm(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** Clusters of two. */
    private int blocks() {
        return cuda.device().freeMultiprocessors() / 2 * 2;
    }

    /** C[r, n] = sum over k of A[r, k] * W_g[n, k]. False, with nothing done, where these operands need another way. */
    boolean rows(GroupedOperand left, GroupedOperand right, CudaTensor c) {
        if (!(left instanceof CudaFp8GroupedOperand a)
                || !(right instanceof CudaFp8GroupedOperand w)
                || !fits(a, Layout.RAGGED_ROWS, w, Layout.STACKED)
                || !goTogether(a, w, Blocks.B128X128)
                || a.depth() != w.depth()
                || c.dtype() != DType.BF16
                || c.address() % 16 != 0
                || c.shape().cols() != w.width()
                || w.width() % Fp8Source.UNIT != 0
                || c.shape().rows() < a.rows()) {
            return false;
        }
        boolean blocks = inBlocks(a);
        CudaFunction function =
                cuda.function(FILE, blocks ? "grouped_gemm_fp8_rows_blocks_sm90a" : "grouped_gemm_fp8_rows_sm90a");
        if (rowsSharedBytes == 0) {
            rowsSharedBytes = function.constant("grouped_gemm_fp8_rows_shared_bytes");
            rowsBlocksSharedBytes = function.constant("grouped_gemm_fp8_rows_blocks_shared_bytes");
        }
        int weightRows = Math.multiplyExact(w.groups(), w.width());
        function.launch(
                blocks(),
                1,
                1,
                THREADS,
                blocks ? rowsBlocksSharedBytes : rowsSharedBytes,
                maps.bytes(a.codes().address(), a.rows(), a.stride(), BOX_ROWS_A, BOX_BYTES),
                maps.bytes(w.codes().address(), weightRows, w.stride(), BOX_ROWS_B, BOX_BYTES),
                maps.bf16(c.address(), c.shape().rows(), w.width(), BOX_ROWS_A, BOX_COLS_BF16),
                CudaFunction.orNull(a.offsets()),
                a.groups(),
                w.width(),
                a.depth(),
                a.scale(),
                w.scale(),
                a.rows(),
                c);
        return true;
    }

    /**
     * C_g[m, n] (+)= sum over the group's tokens r of A[m, r] * B[n, r]. False, with nothing done, where it cannot.
     *
     * @param squares FP32 [G], squared norms of C_g, written when not accumulating; null = not wanted
     */
    boolean depth(
            GroupedOperand left, GroupedOperand right, CudaTensor c, boolean accumulate, @Nullable CudaTensor squares) {
        if (!(left instanceof CudaFp8GroupedOperand a)
                || !(right instanceof CudaFp8GroupedOperand b)
                || !fits(a, Layout.RAGGED_DEPTH, b, Layout.RAGGED_DEPTH)
                || !goTogether(a, b, Blocks.B1X128)
                || a.rows() != b.rows()
                || b.width() % Fp8Source.UNIT != 0
                || c.dtype() != DType.FP32
                || c.address() % 16 != 0
                || c.elements() != (long) a.groups() * a.width() * b.width()) {
            return false;
        }
        boolean blocks = inBlocks(a);
        CudaFunction function = cuda.function(
                FILE,
                "grouped_gemm_fp8_wgrad" + (blocks ? "_blocks" : "") + (accumulate ? "_accumulate" : "") + "_sm90a");
        if (depthSharedBytes == 0) {
            depthSharedBytes = function.constant("grouped_gemm_fp8_depth_shared_bytes");
            depthBlocksSharedBytes = function.constant("grouped_gemm_fp8_depth_blocks_shared_bytes");
        }
        boolean summing = squares != null && !accumulate;
        int parts = SQUARES_PER_TILE
                * CudaArguments.blocks(a.width(), TILE_ROWS)
                * CudaArguments.blocks(b.width(), TILE_COLS);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = summing ? work.allocate(DType.FP32, a.groups(), parts) : null;
            function.launch(
                    blocks(),
                    1,
                    1,
                    THREADS,
                    blocks ? depthBlocksSharedBytes : depthSharedBytes,
                    maps.bytes(a.codes().address(), a.width(), a.stride(), BOX_ROWS_A, BOX_BYTES),
                    maps.bytes(b.codes().address(), b.width(), b.stride(), BOX_ROWS_B, BOX_BYTES),
                    maps.fp32(c.address(), a.groups(), a.width(), b.width(), BOX_ROWS_A, BOX_COLS_C),
                    CudaFunction.orNull(a.offsets()),
                    CudaFunction.orNull(a.starts()),
                    a.groups(),
                    a.width(),
                    b.width(),
                    a.scale(),
                    b.scale(),
                    CudaFunction.orNull(partial));
            if (partial != null && squares != null) {
                cuda.function("optimizer", "sum_parts").launchLine(a.groups(), SUM_THREADS, partial, parts, squares);
            }
        }
        return true;
    }

    @Override
    public void close() {
        maps.close();
    }

    private static boolean inBlocks(CudaFp8GroupedOperand operand) {
        return operand.spec().blocks() != Blocks.TENSOR;
    }

    /** Factors of groups on both sides, or of vectors on the left and of blocks as the kernel wants them on the right. */
    private static boolean goTogether(CudaFp8GroupedOperand a, CudaFp8GroupedOperand b, Blocks right) {
        Blocks blocksA = a.spec().blocks();
        Blocks blocksB = b.spec().blocks();
        return blocksA == Blocks.TENSOR ? blocksB == Blocks.TENSOR : blocksA == Blocks.B1X128 && blocksB == right;
    }

    private static boolean fits(CudaFp8GroupedOperand a, Layout layoutA, CudaFp8GroupedOperand b, Layout layoutB) {
        return a.layout() == layoutA && b.layout() == layoutB && a.groups() == b.groups();
    }
}
