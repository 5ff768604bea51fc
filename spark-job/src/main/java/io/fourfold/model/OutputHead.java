package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.VocabularyShard;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Final norm, output projection (the embedding when tied) and loss. Always in the activation type. */
final class OutputHead {
    private final Backend backend;
    private final RmsNorm norm;
    private final Parameter weight;
    private final SequenceParallel ranks;
    private @Nullable Tensor prepared;
    /** A tied embedding adds its own gradient later: its backward needs the head's. */
    private FirstWrites firstWrites = new FirstWrites();

    /**
     * @param weight [V, H], this rank's part of the vocabulary
     */
    OutputHead(Backend backend, RmsNorm norm, Parameter weight, SequenceParallel ranks) {
        this.backend = backend;
        this.norm = norm;
        this.weight = weight;
        this.ranks = ranks;
    }

    void prepare(WeightPreparation preparation, DType type) {
        prepared = type == DType.BF16 ? preparation.rounded(weight) : weight.weight();
        preparation.made(prepared, null);
        firstWrites = ranks.splitsLayers() ? new FirstWrites() : preparation.overwriting(weight);
    }

    /**
     * Writes the token losses.
     *
     * @param lossPerToken FP32 [T]
     * @param dstream [T, H], the gradient of the residual stream, written; null = forward only
     */
    void loss(Pass pass, Tensor x, Tensor lossPerToken, @Nullable Tensor dstream) {
        try (TensorScope work = pass.work()) {
            Tensor hidden = work.allocate(pass.type(), x.shape());
            Tensor rstd = norm.forward(pass, x, hidden, work);
            pass.inspect("forward", -1, "final_norm output", hidden);
            Tensor dhidden = dstream == null ? null : work.allocate(pass.type(), x.shape());
            if (ranks.splitsLayers()) {
                splitLoss(pass, hidden, lossPerToken, dhidden, work);
            } else {
                backend.loss()
                        .linearCrossEntropy(
                                hidden,
                                Objects.requireNonNull(prepared),
                                pass.batch().labels(),
                                (float) pass.step().lossScale(),
                                lossPerToken,
                                dhidden,
                                dstream == null ? null : weight.grad(),
                                dstream == null || !firstWrites.take(weight));
            }
            pass.inspect("forward", -1, "loss per token", lossPerToken);
            if (dstream != null && dhidden != null) {
                pass.inspect("backward", -1, "head input gradient", dhidden);
                norm.backward(pass, dhidden, x, rstd, dstream, false);
            }
        }
    }

    /** Over ranks that split the vocabulary: all compute the losses of all their rows, each keeps those of its own. */
    private void splitLoss(Pass pass, Tensor hidden, Tensor lossPerToken, @Nullable Tensor dhidden, TensorScope work) {
        Tensor rows = ranks.gather(hidden, work);
        Tensor losses = work.allocate(DType.FP32, rows.dim(0));
        Tensor drows = dhidden == null ? null : work.allocate(pass.type(), rows.shape());
        int part = weight.weight().dim(0);
        backend.loss()
                .linearCrossEntropy(
                        rows,
                        Objects.requireNonNull(prepared),
                        new VocabularyShard(
                                ranks.tensor().rank() * part, ranks.tensor().size() * part, ranks.tensor()),
                        pass.batch().labels(),
                        (float) pass.step().lossScale(),
                        losses,
                        drows,
                        dhidden == null ? null : weight.grad());
        long own = lossPerToken.elements();
        backend.elementwise().copy(losses.view(ranks.tensor().rank() * own, lossPerToken.shape()), lossPerToken);
        if (drows != null && dhidden != null) {
            ranks.scatterSum(drows, dhidden);
        }
    }

    /** Writes the logits FP32 [rows of x, V]. */
    void logits(Pass pass, Tensor x, Tensor logits) {
        if (ranks.holders().size() > 1) {
            throw new UnsupportedOperationException(
                    "logits are computed on one rank only, this mapping splits a sequence" + " over "
                            + ranks.holders().size() + "; load the checkpoint on one rank");
        }
        try (TensorScope work = pass.work()) {
            Tensor hidden = work.allocate(pass.type(), x.shape());
            norm.forward(pass, x, hidden, work);
            OperandSpec spec = pass.type() == DType.BF16 ? OperandSpec.BF16 : OperandSpec.FP32;
            GemmOperand a = backend.quantize().operand(hidden, false, spec, null, null, work);
            GemmOperand b = backend.quantize().operand(Objects.requireNonNull(prepared), false, spec, null, null, work);
            backend.gemm().multiply(a, b, logits, false);
        }
    }
}
