package io.fourfold.train;

import io.fourfold.data.Batch;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.model.GradientListener;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.MoeTransformer;
import io.fourfold.model.NonFiniteReport;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.StepContext;
import java.util.List;
import java.util.Optional;

/** What the training loop asks of a model; the contracts are those of {@link MoeTransformer}'s methods. */
public interface TrainableModel extends AutoCloseable {
    ParameterStore parameters();

    void initialize(long seed);

    void parametersChanged(int step);

    void beginStep(StepContext step);

    /** All micro-batches of the step. */
    List<MicroBatchResult> forwardBackward(List<Batch> batches, StepContext step);

    /** Who hears during {@link #forwardBackward} which gradients are complete; a model may tell nothing. */
    void listen(GradientListener listener);

    List<LayerLoad> endStep();

    double evaluate(Batch batch);

    Optional<NonFiniteReport> locate(Batch batch, StepContext step);

    @Override
    void close();

    /** The decoder as the loop sees it. */
    static TrainableModel of(MoeTransformer model) {
        return new TrainableModel() {
            @Override
            public ParameterStore parameters() {
                return model.parameters();
            }

            @Override
            public void initialize(long seed) {
                model.initialize(seed);
            }

            @Override
            public void parametersChanged(int step) {
                model.parametersChanged(step);
            }

            @Override
            public void beginStep(StepContext step) {
                model.beginStep(step);
            }

            @Override
            public List<MicroBatchResult> forwardBackward(List<Batch> batches, StepContext step) {
                return model.forwardBackward(batches, step);
            }

            @Override
            public void listen(GradientListener listener) {
                model.listen(listener);
            }

            @Override
            public List<LayerLoad> endStep() {
                return model.endStep();
            }

            @Override
            public double evaluate(Batch batch) {
                return model.evaluate(batch);
            }

            @Override
            public Optional<NonFiniteReport> locate(Batch batch, StepContext step) {
                return model.locate(batch, step);
            }

            @Override
            public void close() {
                model.close();
            }
        };
    }
}
