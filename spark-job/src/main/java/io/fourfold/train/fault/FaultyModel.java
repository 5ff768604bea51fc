package io.fourfold.train.fault;

import io.fourfold.config.FaultSpec;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.NonFiniteReport;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.StepContext;
import io.fourfold.train.TrainableModel;
import java.util.List;
import java.util.Optional;

/** A model that fails at the beginning of a step, or poisons a gradient during it. */
final class FaultyModel implements TrainableModel {
    private final TrainableModel model;
    private final Backend backend;
    private final List<FaultSpec> faults;
    private final FaultMemory memory;
    private final FaultInjector.Crash crash;
    private boolean poisoned;

    FaultyModel(
            TrainableModel model,
            Backend backend,
            List<FaultSpec> faults,
            FaultMemory memory,
            FaultInjector.Crash crash) {
        this.model = model;
        this.backend = backend;
        this.faults = faults;
        this.memory = memory;
        this.crash = crash;
    }

    @Override
    public void beginStep(StepContext step) {
        poisoned = false;
        for (FaultSpec fault : faults) {
            if (step.step() >= fault.step() && memory.take(fault, step.step())) {
                strike(fault, step.step());
            }
        }
        model.beginStep(step);
    }

    private void strike(FaultSpec fault, int step) {
        String what = "injected fault '" + fault.text() + "' at step " + step;
        switch (fault.kind()) {
            case CRASH -> crash.now(what);
            case HANG -> {
                if (!sleep(fault.seconds())) {
                    throw new InjectedFault(what + " ended by an interrupt");
                }
            }
            case SLOW -> sleep(fault.seconds());
            case NON_FINITE -> poisoned = true;
            case DRIVER_RESTART -> {
                // The driver watches the fault's memory and ends itself.
            }
            case TRUNCATED_SHARD, FULL_DISK -> throw new IllegalArgumentException(what + " is none of a step");
        }
    }

    /** False when interrupted. */
    private static boolean sleep(double seconds) {
        try {
            Thread.sleep((long) Math.min(Long.MAX_VALUE, seconds * 1000));
            return true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    @Override
    public List<MicroBatchResult> forwardBackward(List<Batch> batches, StepContext step) {
        List<MicroBatchResult> result = model.forwardBackward(batches, step);
        if (poisoned) {
            Tensor gradients = model.parameters().flatGrads(Parameter.Kind.DENSE);
            backend.upload(new float[] {Float.NaN}, gradients.view(0, Shape.of(1)));
        }
        return result;
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
