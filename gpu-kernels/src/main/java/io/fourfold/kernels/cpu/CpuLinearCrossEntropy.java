package io.fourfold.kernels.cpu;

import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.cpu.Sgemm.Matrix;
import io.fourfold.kernels.cpu.Sgemm.Order;
import io.fourfold.kernels.op.LossOps;
import io.fourfold.kernels.op.VocabularyShard;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Output head and cross-entropy in chunks of the tokens that count. With z = h W^T in FP32 and label y:
 *
 * <pre>
 * loss = log sum_v exp(z_v) - z_y;   dz_v = gradScale (softmax(z)_v - [v = y]);   dh = dz W;   dW += dz^T h
 * </pre>
 *
 * When hidden is BF16, the operands of all three products (h, W and dz) are rounded to BF16 first, as on a GPU. Loss and
 * softmax use the FP32 logits.
 */
final class CpuLinearCrossEntropy implements LossOps, AutoCloseable {
    /** Logits held at a time: 8 MiB, or a chunk of 64 tokens where that is more. */
    private static final int CHUNK_LOGITS = 1 << 21;

    private static final int SMALLEST_CHUNK = 64;

    private final NativeFloats weights = new NativeFloats();
    private final NativeFloats weightGradients = new NativeFloats();
    private final NativeFloats rows = new NativeFloats();
    private final NativeFloats logits = new NativeFloats();
    private float[] scratch = new float[0];

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
        if (dweight != null && !accumulate) {
            CpuTensor gradient = Arguments.fp32(dweight, "dweight", weight.elements());
            Arrays.fill(gradient.floats(), gradient.offset(), gradient.offset() + gradient.size(), 0f);
        }
        run(new Call(hidden, weight, null, labels, gradScale, lossPerToken, dhidden, dweight));
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
        run(new Call(hidden, weight, shard, labels, gradScale, lossPerToken, dhidden, dweight));
    }

    private void run(Call call) {
        Arrays.fill(call.loss.floats(), call.loss.offset(), call.loss.offset() + call.loss.size(), 0f);
        if (call.dHidden != null) {
            CpuTensor gradient = call.dHidden;
            Arrays.fill(gradient.floats(), gradient.offset(), gradient.offset() + gradient.size(), 0f);
        }
        int[] counted = call.countedTokens();
        if (counted.length == 0) {
            return;
        }
        int chunk = Math.min(counted.length, Math.max(SMALLEST_CHUNK, CHUNK_LOGITS / call.vocabulary));
        scratch = scratch.length >= Math.max(call.width, call.vocabulary)
                ? scratch
                : new float[Math.max(call.width, call.vocabulary)];
        loadWeights(call);
        rows.reserve(chunk * call.width);
        logits.reserve(Math.multiplyExact(chunk, call.vocabulary));
        for (int from = 0; from < counted.length; from += chunk) {
            runChunk(call, Arrays.copyOfRange(counted, from, Math.min(counted.length, from + chunk)));
        }
        if (call.dWeight != null) {
            addWeightGradients(call, call.dWeight);
        }
    }

    private void loadWeights(Call call) {
        weights.reserve(Math.multiplyExact(call.vocabulary, call.width));
        for (int v = 0; v < call.vocabulary; v++) {
            loadRow(weights, v, call.weight, v, call);
        }
        if (call.dWeight != null) {
            weightGradients.reserve(call.vocabulary * call.width);
            weightGradients.zero(0, call.vocabulary * call.width);
        }
    }

    private void loadRow(NativeFloats to, int toRow, CpuTensor from, int fromRow, Call call) {
        int width = call.width;
        int at = from.offset() + fromRow * width;
        if (!call.bf16 || from.dtype() == DType.BF16) {
            to.put(toRow * width, from.floats(), at, width);
            return;
        }
        System.arraycopy(from.floats(), at, scratch, 0, width);
        Bf16Rounding.round(scratch, 0, width);
        to.put(toRow * width, scratch, 0, width);
    }

    private void runChunk(Call call, int[] tokens) {
        int m = tokens.length;
        int v = call.vocabulary;
        int h = call.width;
        for (int r = 0; r < m; r++) {
            loadRow(rows, r, call.hidden, tokens[r], call);
        }
        Matrix hiddenRows = new Matrix(rows, 0, h);
        Matrix head = new Matrix(weights, 0, h);
        Matrix chunkLogits = new Matrix(logits, 0, v);
        Sgemm.multiply(Order.PLAIN, Order.TRANSPOSED, m, v, h, 1f, hiddenRows, head, 0f, chunkLogits);
        if (call.shard == null) {
            for (int r = 0; r < m; r++) {
                lossAndGradient(call, r, tokens[r]);
            }
        } else {
            shardedLossAndGradient(call, call.shard, tokens);
        }
        if (call.dWeight != null) {
            Sgemm.multiply(
                    Order.TRANSPOSED,
                    Order.PLAIN,
                    v,
                    h,
                    m,
                    1f,
                    chunkLogits,
                    hiddenRows,
                    1f,
                    new Matrix(weightGradients, 0, h));
        }
        CpuTensor dHidden = call.dHidden;
        if (dHidden != null) {
            Sgemm.multiply(Order.PLAIN, Order.PLAIN, m, h, v, 1f, chunkLogits, head, 0f, hiddenRows);
            for (int r = 0; r < m; r++) {
                int at = dHidden.offset() + tokens[r] * h;
                rows.get(r * h, dHidden.floats(), at, h);
                Bf16Rounding.roundIfNeeded(dHidden, at, h);
            }
        }
    }

    /** Writes the loss of row r of the chunk and replaces its logits by their gradient when one is wanted. */
    private void lossAndGradient(Call call, int r, int token) {
        int v = call.vocabulary;
        int label = call.label(token);
        logits.get(r * v, scratch, 0, v);
        float labelLogit = scratch[label];
        float[] sumAndMax = new float[2];
        SoftmaxRow.exponentiate(scratch, 0, v, sumAndMax);
        float sum = sumAndMax[0];
        call.loss.floats()[call.loss.offset() + token] = (sumAndMax[1] - labelLogit) + (float) Math.log(sum);
        if (call.dHidden == null && call.dWeight == null) {
            return;
        }
        float factor = call.gradScale / sum;
        float labelProbability = scratch[label] / sum;
        for (int i = 0; i < v; i++) {
            scratch[i] *= factor;
        }
        scratch[label] = call.gradScale * (labelProbability - 1f);
        if (call.bf16) {
            Bf16Rounding.round(scratch, 0, v);
        }
        logits.put(r * v, scratch, 0, v);
    }

    /**
     * The same for a chunk of a vocabulary split over ranks. Exchanged are the largest logits, then the sums of
     * exponentials and the labels' logits, which all ranks but one leave at zero.
     */
    private void shardedLossAndGradient(Call call, VocabularyShard shard, int[] tokens) {
        int m = tokens.length;
        int v = call.vocabulary;
        float[] max = new float[m];
        float[] sums = new float[2 * m];
        for (int r = 0; r < m; r++) {
            logits.get(r * v, scratch, 0, v);
            max[r] = Sums.max(scratch, 0, v);
            int label = call.label(tokens[r]) - shard.first();
            sums[m + r] = label >= 0 && label < v ? scratch[label] : 0f;
        }
        shard.group().allReduce(CpuTensor.ofFloats(DType.FP32, max, Shape.of(m)), ReduceOp.MAX);
        for (int r = 0; r < m; r++) {
            logits.get(r * v, scratch, 0, v);
            sums[r] = SoftmaxRow.exponentiate(scratch, 0, v, max[r]);
            logits.put(r * v, scratch, 0, v);
        }
        shard.group().allReduce(CpuTensor.ofFloats(DType.FP32, sums, Shape.of(2 * m)), ReduceOp.SUM);
        for (int r = 0; r < m; r++) {
            call.loss.floats()[call.loss.offset() + tokens[r]] = (max[r] - sums[m + r]) + (float) Math.log(sums[r]);
            if (call.dHidden != null || call.dWeight != null) {
                logits.get(r * v, scratch, 0, v);
                shardGradient(call, sums[r], call.label(tokens[r]) - shard.first());
                logits.put(r * v, scratch, 0, v);
            }
        }
    }

    /** From exponentials to the gradient of the logits, in {@link #scratch}. */
    private void shardGradient(Call call, float sum, int label) {
        int v = call.vocabulary;
        float factor = call.gradScale / sum;
        boolean here = label >= 0 && label < v;
        float labelProbability = here ? scratch[label] / sum : 0f;
        for (int i = 0; i < v; i++) {
            scratch[i] *= factor;
        }
        if (here) {
            scratch[label] = call.gradScale * (labelProbability - 1f);
        }
        if (call.bf16) {
            Bf16Rounding.round(scratch, 0, v);
        }
    }

    private void addWeightGradients(Call call, CpuTensor dWeight) {
        float[] sums = dWeight.floats();
        for (int v = 0; v < call.vocabulary; v++) {
            weightGradients.get(v * call.width, scratch, 0, call.width);
            int at = dWeight.offset() + v * call.width;
            for (int i = 0; i < call.width; i++) {
                sums[at + i] += scratch[i];
            }
        }
    }

    @Override
    public void close() {
        weights.close();
        weightGradients.close();
        rows.close();
        logits.close();
    }

    /** The checked arguments of one call. */
    private static final class Call {
        private final CpuTensor hidden;
        private final CpuTensor weight;
        private final @Nullable VocabularyShard shard;
        private final CpuTensor labels;
        private final float gradScale;
        private final CpuTensor loss;
        private final @Nullable CpuTensor dHidden;
        private final @Nullable CpuTensor dWeight;
        private final int width;
        private final int vocabulary;
        private final boolean bf16;

        Call(
                Tensor hidden,
                Tensor weight,
                @Nullable VocabularyShard shard,
                Tensor labels,
                float gradScale,
                Tensor loss,
                @Nullable Tensor dHidden,
                @Nullable Tensor dWeight) {
            int tokens = Math.toIntExact(labels.elements());
            this.weight = Arguments.floats(weight, "weight", weight.elements());
            this.width = weight.shape().cols();
            this.vocabulary = weight.shape().rows();
            this.shard = shard;
            this.hidden = Arguments.floats(hidden, "hidden", (long) tokens * width);
            this.labels = Arguments.int32(labels, "labels", tokens);
            this.gradScale = gradScale;
            this.loss = Arguments.fp32(loss, "lossPerToken", tokens);
            this.dHidden = dHidden == null ? null : Arguments.floats(dHidden, "dhidden", hidden.elements());
            this.dWeight = dWeight == null ? null : Arguments.fp32(dWeight, "dweight", weight.elements());
            this.bf16 = hidden.dtype() == DType.BF16;
        }

        int label(int token) {
            return labels.ints()[labels.offset() + token];
        }

        int[] countedTokens() {
            int size = shard == null ? vocabulary : shard.total();
            int[] counted = new int[labels.size()];
            int n = 0;
            for (int token = 0; token < labels.size(); token++) {
                int label = label(token);
                if (label < -1 || label >= size) {
                    throw new IllegalArgumentException("label " + label + " at position " + token
                            + " is outside the vocabulary of " + size + " and not -1 (ignored)");
                }
                if (label >= 0) {
                    counted[n++] = token;
                }
            }
            return Arrays.copyOf(counted, n);
        }
    }
}
