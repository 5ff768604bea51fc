package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;

import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.LossOps;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.VocabularyShard;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Output head and cross-entropy in chunks of tokens: by {@link HopperHead} where it can; otherwise FP32 logits by a GEMM, loss
 * and gradient by cross_entropy.cu, then the two gradient GEMMs. With BF16 hidden states the operands of all three are BF16,
 * as on the CPU.
 */
final class CudaLossOps implements LossOps, AutoCloseable {
    /**
     * Logits held at a time: 2 GiB and their BF16 gradients, or a chunk of 128 tokens where that is more. Each chunk reads
     * and writes the FP32 weight gradient once more, so few chunks are faster: it matters from some 100 K entries on.
     */
    private static final int CHUNK_LOGITS = 1 << 29;

    private static final int CHUNK_UNIT = 128;

    private final CudaRuntime cuda;
    private final GemmOps gemm;
    private final QuantizeOps quantize;
    private final ElementwiseOps elementwise;
    private final HopperHead hopper;

    CudaLossOps(CudaRuntime cuda, GemmOps gemm, QuantizeOps quantize, ElementwiseOps elementwise) {
        this.cuda = cuda;
        this.gemm = gemm;
        this.quantize = quantize;
        this.elementwise = elementwise;
        this.hopper = new HopperHead(cuda, gemm, quantize);
    }

    @Override
    public void linearCrossEntropy(
            Tensor hidden,
            Tensor weight,
            Tensor labels,
            float gradScale,
            Tensor lossPerToken,
            @Nullable Tensor dhidden,
            @Nullable Tensor dweight,
            boolean accumulate) {
        int tokens = Math.toIntExact(labels.elements());
        int vocabulary = weight.shape().rows();
        int width = weight.shape().cols();
        CudaTensor h =
                (CudaTensor) floats(hidden, "hidden", (long) tokens * width).reshape(tokens, width);
        CudaTensor y = (CudaTensor) int32(labels, "labels", tokens).reshape(tokens, 1);
        CudaTensor loss =
                (CudaTensor) fp32(lossPerToken, "lossPerToken", tokens).reshape(tokens, 1);
        Tensor dH = dhidden == null
                ? null
                : floats(dhidden, "dhidden", h.elements()).reshape(tokens, width);
        Tensor dW = dweight == null ? null : fp32(dweight, "dweight", weight.elements());
        if (tokens == 0) {
            if (dW != null && !accumulate) {
                elementwise.fill(dW, 0f);
            }
            return;
        }
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor w = weightFor(h, floats(weight, "weight", weight.elements()), work);
            if (hopper.takes(h, w)) {
                hopper.run(h, w, y, gradScale, loss, dH, dW, accumulate);
            } else {
                byLogits(h, w, y, gradScale, loss, dH, dW, accumulate, work);
            }
        }
    }

    @Override
    public void linearCrossEntropy(
            Tensor hidden,
            Tensor weight,
            VocabularyShard shard,
            Tensor labels,
            float gradScale,
            Tensor lossPerToken,
            @Nullable Tensor dhidden,
            @Nullable Tensor dweight) {
        new VocabularyParallelLoss(cuda, gemm, quantize, elementwise)
                .linearCrossEntropy(hidden, weight, shard, labels, gradScale, lossPerToken, dhidden, dweight);
    }

    private void byLogits(
            CudaTensor h,
            CudaTensor w,
            CudaTensor labels,
            float gradScale,
            CudaTensor loss,
            @Nullable Tensor dH,
            @Nullable Tensor dW,
            boolean accumulate,
            CudaTensorScope work) {
        int tokens = h.shape().rows();
        int vocabulary = w.shape().rows();
        int chunk = Math.max(CHUNK_UNIT, CHUNK_LOGITS / vocabulary / CHUNK_UNIT * CHUNK_UNIT);
        int rows = Math.min(chunk, tokens);
        CudaTensor logits = work.allocate(DType.FP32, rows, vocabulary);
        boolean differentiate = dH != null || dW != null;
        CudaTensor gradients =
                !differentiate || h.dtype() == DType.FP32 ? logits : work.allocate(DType.BF16, rows, vocabulary);
        for (int from = 0; from < tokens; from += chunk) {
            int to = Math.min(from + chunk, tokens);
            CudaTensor z = (CudaTensor) logits.rows(0, to - from);
            CudaTensor dz = (CudaTensor) gradients.rows(0, to - from);
            Tensor hiddenRows = h.rows(from, to);
            gemm.multiply(operand(hiddenRows, false, work), operand(w, false, work), z, false);
            cuda.function("cross_entropy", kernel("cross_entropy", dz))
                    .launchLine(
                            to - from,
                            1024,
                            z,
                            labels.rows(from, to),
                            vocabulary,
                            gradScale,
                            loss.rows(from, to),
                            differentiate ? dz : CudaFunction.NULL);
            if (dW != null) {
                gemm.multiply(operand(dz, true, work), operand(hiddenRows, true, work), dW, accumulate || from > 0);
            }
            if (dH != null) {
                gemm.multiply(operand(dz, false, work), operand(w, true, work), dH.rows(from, to), false);
            }
        }
    }

    @Override
    public void close() {
        hopper.close();
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
