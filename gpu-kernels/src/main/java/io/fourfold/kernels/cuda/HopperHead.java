package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Output head and cross-entropy on Hopper with BF16 operands, in chunks of tokens: one product whose epilogue stores
 * exponentials instead of logits, then the two gradient products (head_exponentials_sm90a.cu, head_softmax.cu). Per logit it
 * writes two bytes and reads four; loss and softmax are FP32.
 */
final class HopperHead implements AutoCloseable {
    private static final String PRODUCT = "head_exponentials_sm90a";
    private static final String SOFTMAX = "head_softmax";
    /**
     * Exponentials held at a time, 2.5 GiB: each chunk reads and writes the FP32 weight gradient once more, and a product
     * of few rows leaves multiprocessors idle at its end.
     */
    private static final long CHUNK_LOGITS = 5L << 28;

    private static final int CHUNK_UNIT = 256;
    private static final int THREADS = 384;
    private static final int BLOCK = 256;
    private static final int WARP = 32;
    private static final int BOX = 64;
    private static final int BOX_ROWS_W = 128;
    private static final int TILE_COLS = 256;
    /** Below this the products are so short that logits cost little, and those keep one rounding of the weight gradient less. */
    private static final int SMALLEST_WIDTH = 128;

    private final CudaRuntime cuda;
    private final GemmOps gemm;
    private final QuantizeOps quantize;
    private final TensorMaps maps = new TensorMaps();
    private final boolean hopper;
    private int sharedBytes;

    HopperHead(CudaRuntime cuda, GemmOps gemm, QuantizeOps quantize) {
        this.cuda = cuda;
        this.gemm = gemm;
        this.quantize = quantize;
        hopper = cuda.device().architecture() == 90;
    }

    /** True when {@link #run} is for these operands. */
    boolean takes(CudaTensor hidden, CudaTensor weight) {
        int vocabulary = weight.shape().rows();
        int width = weight.shape().cols();
        return hopper
                && hidden.dtype() == DType.BF16
                && weight.dtype() == DType.BF16
                && hidden.elements() > 0
                && width % 8 == 0
                && width >= SMALLEST_WIDTH
                && vocabulary % 8 == 0
                && hidden.address() % 16 == 0
                && weight.address() % 16 == 0;
    }

    /**
     * See {@link io.fourfold.kernels.op.LossOps#linearCrossEntropy}.
     *
     * @param hidden BF16 [T, H]
     * @param weight BF16 [V, H]
     * @param accumulate false: dweight is written, not added to
     */
    void run(
            CudaTensor hidden,
            CudaTensor weight,
            CudaTensor labels,
            float gradScale,
            CudaTensor loss,
            @Nullable Tensor dhidden,
            @Nullable Tensor dweight,
            boolean accumulate) {
        int tokens = hidden.shape().rows();
        int vocabulary = weight.shape().rows();
        boolean differentiate = dhidden != null || dweight != null;
        int rows = chunk(tokens, vocabulary);
        try (CudaTensorScope work = cuda.workspace()) {
            Buffers buffers = new Buffers(work, rows, weight, differentiate, dhidden != null, dweight != null);
            for (int from = 0; from < tokens; from += rows) {
                int to = Math.min(from + rows, tokens);
                CudaTensor h = (CudaTensor) hidden.rows(from, to);
                Buffers chunk = buffers.first(to - from);
                exponentials(h, weight, (CudaTensor) labels.rows(from, to), chunk);
                finish(
                        h,
                        weight,
                        (CudaTensor) labels.rows(from, to),
                        gradScale,
                        (CudaTensor) loss.rows(from, to),
                        chunk);
                if (dweight != null) {
                    GemmOperand e = operand(chunk.exponentials(), true, work);
                    gemm.multiply(e, operand(chunk.scaled(), true, work), dweight, accumulate || from > 0);
                }
                if (dhidden != null) {
                    GemmOperand e = operand(chunk.exponentials(), false, work);
                    gemm.multiply(e, operand(weight, true, work), chunk.product(), false);
                    CudaTensor out = (CudaTensor) dhidden.rows(from, to);
                    cuda.function(SOFTMAX, CudaArguments.kernel("head_scale_rows", out))
                            .launchLine(
                                    to - from,
                                    BLOCK,
                                    chunk.product(),
                                    chunk.factors,
                                    weight.shape().cols(),
                                    out);
                }
            }
        }
    }

    @Override
    public void close() {
        maps.close();
    }

    /** Equal chunks, so that none is small. */
    private static int chunk(int tokens, int vocabulary) {
        long chunks = Math.max(1, ((long) tokens * vocabulary + CHUNK_LOGITS - 1) / CHUNK_LOGITS);
        long rows = (tokens + chunks - 1) / chunks;
        return Math.toIntExact(Math.min(tokens, (rows + CHUNK_UNIT - 1) / CHUNK_UNIT * CHUNK_UNIT));
    }

    private void exponentials(CudaTensor h, CudaTensor w, CudaTensor labels, Buffers chunk) {
        int rows = h.shape().rows();
        int width = w.shape().cols();
        int vocabulary = w.shape().rows();
        cuda.function(SOFTMAX, "head_label_logits")
                .launchLine(
                        CudaArguments.blocks((long) rows * WARP, BLOCK),
                        BLOCK,
                        h,
                        w,
                        labels,
                        rows,
                        width,
                        vocabulary,
                        chunk.labelLogits,
                        chunk.base);
        CudaFunction function = cuda.function(PRODUCT, "head_exponentials_sm90a");
        if (sharedBytes == 0) {
            sharedBytes = function.constant("head_exponentials_shared_bytes");
        }
        CudaTensor e = chunk.exponentials;
        function.launch(
                cuda.device().multiprocessors() / 2 * 2,
                1,
                1,
                THREADS,
                sharedBytes,
                maps.bf16(h.address(), rows, width, BOX, BOX),
                maps.bf16(w.address(), vocabulary, width, BOX_ROWS_W, BOX),
                maps.bf16(e == null ? h.address() : e.address(), rows, e == null ? width : vocabulary, BOX, BOX),
                e == null ? 0 : 1,
                rows,
                vocabulary,
                width,
                chunk.base,
                chunk.sums);
    }

    private void finish(
            CudaTensor h, CudaTensor w, CudaTensor labels, float gradScale, CudaTensor loss, Buffers chunk) {
        cuda.function(SOFTMAX, "head_loss")
                .launchLine(
                        h.shape().rows(),
                        BLOCK,
                        h,
                        w,
                        labels,
                        w.shape().cols(),
                        w.shape().rows(),
                        chunk.sums,
                        colTiles(w.shape().rows()),
                        chunk.labelLogits,
                        gradScale,
                        loss,
                        chunk.factors,
                        CudaFunction.orNull(chunk.exponentials),
                        CudaFunction.orNull(chunk.scaled));
    }

    private GemmOperand operand(Tensor x, boolean byColumns, CudaTensorScope work) {
        return quantize.operand(x, byColumns, OperandSpec.BF16, null, null, work);
    }

    private static int colTiles(int vocabulary) {
        return (vocabulary + TILE_COLS - 1) / TILE_COLS;
    }

    /** What a chunk of tokens needs; for fewer tokens the first rows are taken. */
    private static final class Buffers {
        private final CudaTensor labelLogits;
        private final CudaTensor base;
        private final CudaTensor factors;
        /** FP32 [column tiles x rows], flat. */
        private final CudaTensor sums;
        /** BF16 [rows, V]; null = loss only. */
        private final @Nullable CudaTensor exponentials;
        /** BF16 [rows, H]: hidden times factors. */
        private final @Nullable CudaTensor scaled;
        /** FP32 [rows, H]: dhidden before its factors. */
        private final @Nullable CudaTensor product;

        Buffers(
                CudaTensorScope work,
                int rows,
                CudaTensor weight,
                boolean differentiate,
                boolean hidden,
                boolean weights) {
            int vocabulary = weight.shape().rows();
            int width = weight.shape().cols();
            labelLogits = work.allocate(DType.FP32, rows, 1);
            base = work.allocate(DType.FP32, rows, 1);
            factors = work.allocate(DType.FP32, rows, 1);
            sums = work.allocate(DType.FP32, rows, colTiles(vocabulary));
            exponentials = differentiate ? work.allocate(DType.BF16, rows, vocabulary) : null;
            scaled = weights ? work.allocate(DType.BF16, rows, width) : null;
            product = hidden ? work.allocate(DType.FP32, rows, width) : null;
        }

        private Buffers(Buffers all, int rows) {
            labelLogits = all.labelLogits;
            base = all.base;
            factors = all.factors;
            sums = all.sums;
            exponentials = all.exponentials == null ? null : (CudaTensor) all.exponentials.rows(0, rows);
            scaled = all.scaled == null ? null : (CudaTensor) all.scaled.rows(0, rows);
            product = all.product == null ? null : (CudaTensor) all.product.rows(0, rows);
        }

        Buffers first(int rows) {
            return new Buffers(this, rows);
        }

        CudaTensor exponentials() {
            return Objects.requireNonNull(exponentials);
        }

        CudaTensor scaled() {
            return Objects.requireNonNull(scaled);
        }

        CudaTensor product() {
            return Objects.requireNonNull(product);
        }
    }
}
