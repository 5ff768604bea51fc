package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.parallel.ProcessGroups;
import java.util.List;
import java.util.Optional;

/**
 * A decoder with dense and Mixture-of-Experts blocks on one rank. A training step is: {@link #beginStep},
 * {@link #forwardBackward} for each micro-batch, reduction of the gradients and the optimizer (not here),
 * {@link #endStep}. With expert parallelism every call that runs the model is collective over the EP group.
 */
public final class MoeTransformer implements AutoCloseable {
    private MoeTransformer() {}

    /**
     * Declares and allocates the parameters (zero until {@link #initialize} or a checkpoint fills them).
     *
     * @throws IllegalArgumentException when the mapping or recipe does not fit the model
     */
    public static MoeTransformer create(FourfoldConfig config, Backend backend, ProcessGroups groups) {
        throw new UnsupportedOperationException("in preparation");
    }

    public ParameterStore parameters() {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Fills the parameters; each value is a pure function of (seed, global tensor name, global element index). */
    public void initialize(long seed) {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Must be called after anything but the optimizer step (which {@link #endStep} follows) changed parameters. */
    public void parametersChanged() {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Zeroes the gradients and prepares (quantizes) the weights, once per optimizer step. */
    public void beginStep(StepContext step) {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Runs one micro-batch and adds its gradients; summed over micro-batches and ranks they are the step's. */
    public MicroBatchResult forwardBackward(Batch batch, StepContext step) {
        throw new UnsupportedOperationException("in preparation");
    }

    /**
     * After the optimizer step: moves the expert biases and returns the step's load per MoE layer, both from counts summed
     * over all ranks (collective).
     */
    public List<LayerLoad> endStep() {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Sum of the token losses of a batch with the recipe's fprop formats; no gradients. */
    public double evaluate(Batch batch) {
        return evaluate(batch, EvaluationPrecision.RECIPE);
    }

    public double evaluate(Batch batch, EvaluationPrecision precision) {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Logits of one sequence as a single document, row-major [tokens.length, V]. */
    public float[] logits(int[] tokens, EvaluationPrecision precision) {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Logits with the recipe's fprop formats. */
    public float[] logits(int[] tokens) {
        return logits(tokens, EvaluationPrecision.RECIPE);
    }

    /** Logits after the last token only, [V]. */
    public float[] lastLogits(int[] tokens, EvaluationPrecision precision) {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Largest activation memory that a micro-batch held so far, in device bytes. */
    public long activationBytes() {
        throw new UnsupportedOperationException("in preparation");
    }

    /**
     * Repeats a micro-batch looking at every tensor, after a non-finite loss or gradient norm was seen; spoils the
     * gradients. Collective like {@link #forwardBackward}.
     */
    public Optional<NonFiniteReport> locate(Batch batch, StepContext step) {
        throw new UnsupportedOperationException("in preparation");
    }

    /** Releases parameters, gradients and prepared weights. */
    @Override
    public void close() {
        throw new UnsupportedOperationException("in preparation");
    }
}
