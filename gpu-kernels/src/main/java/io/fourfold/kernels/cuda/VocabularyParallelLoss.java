package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.VocabularyShard;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Output head and cross-entropy over a vocabulary that is split over ranks, in chunks of tokens: FP32 logits of the own
 * entries by a GEMM, {@code cross_entropy_split.cu} around two all-reduces of one and two numbers a token, then the two
 * gradient GEMMs. Every token takes part in the exchange, ignored ones too, so the bytes do not depend on the labels and
 * nothing waits for the GPU.
 */
final class VocabularyParallelLoss {
    private static final String FILE = "cross_entropy_split";
    /** Logits held at a time, 2 GiB, or a chunk of 128 tokens where that is more. Equal shards make equal chunks. */
    private static final int CHUNK_LOGITS = 1 << 29;

    private static final int CHUNK_UNIT = 128;
    private static final int ROW_THREADS = 1024;
    private static final int THREADS = 256;

    private final CudaRuntime cuda;
    private final GemmOps gemm;
    private final QuantizeOps quantize;
    private final ElementwiseOps elementwise;

    private final int chunkLogits;

    VocabularyParallelLoss(CudaRuntime cuda, GemmOps gemm, QuantizeOps quantize, ElementwiseOps elementwise) {
        this(cuda, gemm, quantize, elementwise, CHUNK_LOGITS);
    }

    /** With another number of logits held at a time. */
    VocabularyParallelLoss(
            CudaRuntime cuda, GemmOps gemm, QuantizeOps quantize, ElementwiseOps elementwise, int chunkLogits) {
        this.cuda = cuda;
        this.gemm = gemm;
        this.quantize = quantize;
        this.elementwise = elementwise;
        this.chunkLogits = chunkLogits;
    }

    /** Memory of a chunk: logits [m, V] FP32, their gradients, and per token M, the largest M, and two sums. */
    private record Chunk(
            CudaTensor logits, CudaTensor gradients, CudaTensor own, CudaTensor largest, CudaTensor sums) {}

    /** {@link io.fourfold.kernels.op.LossOps#linearCrossEntropy(Tensor, Tensor, VocabularyShard, Tensor, float, Tensor, Tensor, Tensor)}. */
    void linearCrossEntropy(
            Tensor hidden,
            Tensor weight,
            VocabularyShard shard,
            Tensor labels,
            float gradScale,
            Tensor lossPerToken,
            @Nullable Tensor dhidden,
            @Nullable Tensor dweight) {
        int tokens = Math.toIntExact(labels.elements());
        int vocabulary = weight.shape().rows();
        int width = weight.shape().cols();
        require(
                vocabulary > 0 && shard.first() >= 0 && shard.first() + vocabulary <= shard.total(),
                "entries " + shard.first() + " to " + (shard.first() + vocabulary) + " of a vocabulary of "
                        + shard.total());
        CudaTensor h =
                (CudaTensor) floats(hidden, "hidden", (long) tokens * width).reshape(tokens, width);
        CudaTensor y = (CudaTensor) int32(labels, "labels", tokens).reshape(tokens, 1);
        CudaTensor loss =
                (CudaTensor) fp32(lossPerToken, "lossPerToken", tokens).reshape(tokens, 1);
        Tensor dH = dhidden == null
                ? null
                : floats(dhidden, "dhidden", h.elements()).reshape(tokens, width);
        Tensor dW = dweight == null ? null : fp32(dweight, "dweight", weight.elements());
        boolean differentiate = dH != null || dW != null;
        int rows = Math.min(tokens, Math.max(CHUNK_UNIT, chunkLogits / vocabulary / CHUNK_UNIT * CHUNK_UNIT));
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor w = weightFor(h, floats(weight, "weight", weight.elements()), work);
            Chunk memory = chunk(rows, vocabulary, differentiate ? h.dtype() : DType.FP32, work);
            for (int from = 0; from < tokens; from += rows) {
                int to = Math.min(from + rows, tokens);
                CudaTensor z = (CudaTensor) memory.logits.rows(0, to - from);
                CudaTensor dz = (CudaTensor) memory.gradients.rows(0, to - from);
                Tensor hiddenRows = h.rows(from, to);
                gemm.multiply(operand(hiddenRows, false, work), operand(w, false, work), z, false);
                Object gradients = differentiate ? dz : CudaFunction.NULL;
                softmax(shard, memory, to - from, y.rows(from, to), gradScale, loss.rows(from, to), gradients);
                if (dW != null) {
                    gemm.multiply(operand(dz, true, work), operand(hiddenRows, true, work), dW, true);
                }
                if (dH != null) {
                    gemm.multiply(operand(dz, false, work), operand(w, true, work), dH.rows(from, to), false);
                }
            }
        }
    }

    private static Chunk chunk(int rows, int vocabulary, DType gradientType, CudaTensorScope work) {
        int size = Math.max(1, rows);
        CudaTensor logits = work.allocate(DType.FP32, size, vocabulary);
        return new Chunk(
                logits,
                gradientType == DType.FP32 ? logits : work.allocate(gradientType, size, vocabulary),
                work.allocate(DType.FP32, size),
                work.allocate(DType.FP32, size),
                work.allocate(DType.FP32, 2 * size));
    }

    /** From logits to losses and gradients of {@code tokens} rows. */
    private void softmax(
            VocabularyShard shard,
            Chunk memory,
            int tokens,
            Tensor labels,
            float gradScale,
            Tensor loss,
            Object gradients) {
        int vocabulary = memory.logits.shape().cols();
        Tensor largest = memory.largest.view(0, Shape.of(tokens));
        Tensor sums = memory.sums.view(0, Shape.of(2 * tokens));
        cuda.function(FILE, "split_statistics")
                .launchLine(
                        tokens,
                        ROW_THREADS,
                        memory.logits,
                        labels,
                        vocabulary,
                        shard.first(),
                        shard.total(),
                        tokens,
                        memory.own,
                        largest,
                        sums);
        shard.group().allReduce(largest, ReduceOp.MAX);
        cuda.function(FILE, "split_rescale")
                .launchLine(blocks(tokens, THREADS), THREADS, memory.own, largest, tokens, sums);
        shard.group().allReduce(sums, ReduceOp.SUM);
        cuda.function(FILE, kernel("split_gradient", memory.gradients))
                .launchLine(
                        tokens,
                        ROW_THREADS,
                        memory.logits,
                        labels,
                        vocabulary,
                        shard.first(),
                        shard.total(),
                        tokens,
                        largest,
                        sums,
                        gradScale,
                        loss,
                        gradients);
    }

    private CudaTensor weightFor(CudaTensor hidden, CudaTensor weight, CudaTensorScope work) {
        if (hidden.dtype() == weight.dtype()) {
            return weight;
        }
        CudaTensor converted = work.allocate(hidden.dtype(), weight.shape());
        elementwise.copy(weight, converted);
        return converted;
    }

    private GemmOperand operand(Tensor x, boolean byColumns, CudaTensorScope work) {
        OperandSpec spec = x.dtype() == DType.BF16 ? OperandSpec.BF16 : OperandSpec.FP32;
        return quantize.operand(x, byColumns, spec, null, null, work);
    }
}
