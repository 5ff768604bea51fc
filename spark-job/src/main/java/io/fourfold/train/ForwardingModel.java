package io.fourfold.train;

import io.fourfold.data.Batch;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.model.GradientListener;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.NonFiniteReport;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.StepContext;
import java.util.List;
import java.util.Optional;

/** Hands every call on to another model, so that a wrapper says only what it does otherwise. */
public abstract class ForwardingModel implements TrainableModel {
    private final TrainableModel model;

    protected ForwardingModel(TrainableModel model) {
        this.model = model;
    }

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
}
