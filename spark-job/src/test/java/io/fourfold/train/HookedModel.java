package io.fourfold.train;

import io.fourfold.model.ParameterStore;
import io.fourfold.model.StepContext;
import java.util.function.ObjIntConsumer;

/** A model that something happens to. */
final class HookedModel extends ForwardingModel {
    private final ObjIntConsumer<ParameterStore> beforeStep;

    /**
     * @param beforeStep gets the parameters and the step before each step's weights are prepared
     */
    HookedModel(TrainableModel model, ObjIntConsumer<ParameterStore> beforeStep) {
        super(model);
        this.beforeStep = beforeStep;
    }

    @Override
    public void beginStep(StepContext step) {
        beforeStep.accept(parameters(), step.step());
        super.beginStep(step);
    }
}
