package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.DeviceBatch.Embedded;
import java.util.Objects;

/**
 * Token embedding, the start of the residual stream. Over tensor parallel ranks the vocabulary is split: each rank gives
 * the rows it has, zeros for the others, and the ranks sum them.
 */
final class Embedding {
    private final Parameter weight;
    private final SequenceParallel ranks;
    private final boolean tied;
    private FirstWrites firstWrites = new FirstWrites();

    /**
     * @param weight [V, H], this rank's part of the vocabulary
     * @param tied true when the head adds to the gradient too
     */
    Embedding(Parameter weight, SequenceParallel ranks, boolean tied) {
        this.weight = weight;
        this.ranks = ranks;
        this.tied = tied;
    }

    boolean tied() {
        return tied;
    }

    Parameter weight() {
        return weight;
    }

    /** An untied embedding clears its gradient itself, when everything else of the step's first backward is done. */
    void prepare(WeightPreparation preparation) {
        firstWrites = tied ? new FirstWrites() : preparation.overwriting(weight);
    }

    /** Writes x [T, H], the rows of this rank's tokens. */
    void forward(Pass pass, Tensor x) {
        Embedded embedded = pass.batch().embedded();
        if (ranks.splitsLayers()) {
            try (TensorScope work = pass.work()) {
                int own = Math.toIntExact(embedded.tokens().elements());
                Tensor rows = work.allocate(x.dtype(), own, x.dim(1));
                pass.backend().elementwise().embedding(embedded.tokens(), weight.weight(), rows);
                Tensor partial = work.allocate(x.dtype(), pass.batch().contextTokens(), x.dim(1));
                pass.backend().moe().gatherRows(rows, Objects.requireNonNull(embedded.ownOfRow()), 1, partial);
                ranks.scatterSum(partial, x);
            }
        } else {
            pass.backend().elementwise().embedding(embedded.tokens(), weight.weight(), x);
        }
        pass.inspect("forward", -1, "embedding output", x);
    }

    /** Writes or adds to the weight gradient. */
    void backward(Pass pass, Tensor dx) {
        if (firstWrites.take(weight)) {
            pass.memory().reclaim(weight);
            pass.backend().elementwise().fill(weight.grad(), 0f);
        }
        Embedded embedded = pass.batch().embedded();
        if (!ranks.splitsLayers()) {
            pass.backend().elementwise().embeddingBackward(embedded.tokens(), dx, weight.grad());
            return;
        }
        try (TensorScope work = pass.work()) {
            Tensor all = ranks.gather(dx, work);
            Tensor own =
                    work.allocate(dx.dtype(), Math.toIntExact(embedded.tokens().elements()), dx.dim(1));
            pass.backend().moe().gatherRows(all, Objects.requireNonNull(embedded.rows()), 1, own);
            pass.backend().elementwise().embeddingBackward(embedded.tokens(), own, weight.grad());
        }
    }
}
