package io.fourfold.train.fault;

import io.fourfold.config.FaultSpec;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.model.GradientListener;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.Parameter;
import io.fourfold.model.StepContext;
import io.fourfold.train.ForwardingModel;
import io.fourfold.train.TrainableModel;
import java.util.List;

/** A model that fails at the beginning of a step, or poisons a gradient during it. */
final class FaultyModel extends ForwardingModel {
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
        super(model);
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
        super.beginStep(step);
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

    /** Tells nobody: gradients are poisoned after the backward pass, so none may be summed before. */
    @Override
    public void listen(GradientListener listener) {}

    @Override
    public List<MicroBatchResult> forwardBackward(List<Batch> batches, StepContext step) {
        List<MicroBatchResult> result = super.forwardBackward(batches, step);
        if (poisoned) {
            Tensor gradients = parameters().flatGrads(Parameter.Kind.DENSE);
            backend.upload(new float[] {Float.NaN}, gradients.view(0, Shape.of(1)));
        }
        return result;
    }
}
