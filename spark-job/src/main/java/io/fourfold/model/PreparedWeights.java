package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.precision.Recipe;
import java.util.ArrayList;
import java.util.List;
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
    private final GatheredCodes codes;
    private @Nullable TensorScope scope;
    private State state = State.NONE;
    private int step;
    private List<Object> operands = List.of();

    PreparedWeights(
            Backend backend, Recipe recipe, List<ModelChunk> chunks, WeightMagnitudes magnitudes, GatheredCodes codes) {
        this.backend = backend;
        this.recipe = recipe;
        this.chunks = List.copyOf(chunks);
        this.magnitudes = magnitudes;
        this.codes = codes;
    }

    /**
     * Prepares for a training step.
     *
     * @return the parameters whose gradients need not be zeroed, since their layers overwrite them
     */
    FirstWrites forStep(StepContext context) {
        step = context.step();
        FirstWrites firstWrites = prepare(context, true, false);
        state = State.STEP;
        return firstWrites;
    }

    boolean readyFor(StepContext context) {
        return state == State.STEP && step == context.step();
    }

    /** The master weights have changed. */
    void markStale() {
        state = State.NONE;
    }

    /** The weights as they are prepared now; on a GPU equal operands have the same formats and lie in the same memory. */
    List<Object> operands() {
        return operands;
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
            FirstWrites unused = prepare(context, false, unquantized);
            state = unquantized ? State.EVALUATION_UNQUANTIZED : State.EVALUATION;
        }
        return context;
    }

    private FirstWrites prepare(StepContext context, boolean backward, boolean unquantized) {
        close();
        if (unquantized || context.telemetry() != null || recipe.isSwitched(context.step())) {
            codes.requireWeights(); // of which more is read than their codes
        }
        TensorScope fresh = backend.scope(Region.WORKSPACE);
        scope = fresh;
        WeightPreparation preparation = new WeightPreparation(
                backend,
                fresh,
                context,
                backward,
                magnitudes,
                codes,
                unquantized ? recipe.unquantized() : null,
                new FirstWrites(),
                new ArrayList<>());
        chunks.forEach(chunk -> chunk.prepare(preparation, recipe.activationType()));
        operands = List.copyOf(preparation.operands());
        return preparation.firstWrites();
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
