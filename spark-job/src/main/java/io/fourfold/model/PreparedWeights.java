package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.precision.Recipe;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Which weights are prepared at the moment: those of a training step or those of an evaluation. */
final class PreparedWeights implements AutoCloseable {
    private enum State {
        NONE,
        STEP,
        EVALUATION,
        EVALUATION_UNQUANTIZED
    }

    private final Backend backend;
    private final Recipe recipe;
    private final List<ModelChunk> chunks;
    private final WeightMagnitudes magnitudes;
    private @Nullable TensorScope scope;
    private State state = State.NONE;
    private int step;

    PreparedWeights(Backend backend, Recipe recipe, List<ModelChunk> chunks, WeightMagnitudes magnitudes) {
        this.backend = backend;
        this.recipe = recipe;
        this.chunks = List.copyOf(chunks);
        this.magnitudes = magnitudes;
    }

    /**
     * Prepares for a training step.
     *
     * @return names of the parameters whose gradients need not be zeroed, since their layers overwrite them
     */
    Set<String> forStep(StepContext context) {
        step = context.step();
        Set<String> overwritten = prepare(context, true, false);
        state = State.STEP;
        return overwritten;
    }

    boolean readyFor(StepContext context) {
        return state == State.STEP && step == context.step();
    }

    /** The master weights have changed. */
    void markStale() {
        state = State.NONE;
    }

    void evaluateAt(int trainingStep) {
        step = trainingStep;
    }

    /** Prepares for evaluation unless usable weights are there; returns the context to run with. */
    StepContext forEvaluation(EvaluationPrecision precision) {
        StepContext context = new StepContext(step, 0, 0, 1, null);
        boolean unquantized = precision == EvaluationPrecision.UNQUANTIZED;
        boolean usable =
                unquantized ? state == State.EVALUATION_UNQUANTIZED : state == State.STEP || state == State.EVALUATION;
        if (!usable) {
            Set<String> unused = prepare(context, false, unquantized);
            state = unquantized ? State.EVALUATION_UNQUANTIZED : State.EVALUATION;
        }
        return context;
    }

    private Set<String> prepare(StepContext context, boolean backward, boolean unquantized) {
        close();
        TensorScope fresh = backend.scope(Region.WORKSPACE);
        scope = fresh;
        WeightPreparation preparation = new WeightPreparation(
                backend,
                fresh,
                context,
                backward,
                magnitudes,
                unquantized ? recipe.unquantized() : null,
                new HashSet<>());
        chunks.forEach(chunk -> chunk.prepare(preparation, recipe.activationType()));
        return preparation.overwritten();
    }

    @Override
    public void close() {
        state = State.NONE;
        if (scope != null) {
            scope.close();
            scope = null;
        }
    }
}
