package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.util.ArrayList;

/** A model on one rank of the CPU backend, initialised. */
final class SingleRank implements AutoCloseable {
    final FourfoldConfig config;
    final Backend backend;
    final CommunicationWorld world = InProcessWorld.create(1).get(0);
    final ProcessGroups groups;
    final MoeTransformer model;

    SingleRank(FourfoldConfig config) {
        this(config, new CpuBackend(1));
    }

    SingleRank(FourfoldConfig config, Backend backend) {
        this.config = config;
        this.backend = backend;
        this.groups = ProcessGroups.create(ParallelMapping.of(config.parallel()), world);
        this.model = MoeTransformer.create(config, backend, groups);
        model.initialize(7);
    }

    /** A step whose global batch is exactly the given batch. */
    static StepContext step(Batch batch) {
        return new StepContext(1, 99, 1.0 / batch.labelCount(), batch.samples(), null);
    }

    /** For layers without a model around them, whose weights are prepared for training in a step. */
    static WeightPreparation preparation(Backend backend, TensorScope scope, StepContext step) {
        return new WeightPreparation(
                backend,
                scope,
                step,
                true,
                new WeightMagnitudes(),
                GatheredCodes.none(),
                null,
                new FirstWrites(),
                new ArrayList<>());
    }

    /** Runs one step of one micro-batch. */
    MicroBatchResult run(Batch batch) {
        model.beginStep(step(batch));
        return model.forwardBackward(batch, step(batch));
    }

    /** What training minimises on this batch: mean token loss plus the router's losses. */
    double objective(Batch batch) {
        MicroBatchResult result = run(batch);
        return result.lossSum() / batch.labelCount() + result.auxLoss() + result.zLoss();
    }

    @Override
    public void close() {
        model.close();
        groups.close();
        world.close();
        backend.close();
    }
}
