package io.fourfold.cli;

import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.checkpoint.WeightLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ParallelConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.model.MoeTransformer;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.util.ArrayDeque;
import java.util.Deque;

/** A trained model on one rank of this process, whatever mapping trained it. */
final class LoadedModel implements AutoCloseable {
    private static final ParallelConfig ONE_RANK = new ParallelConfig(1, 1, 1, 1, 1, 1, 1);

    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    private final FourfoldConfig config;
    private final Backend backend;
    private final ProcessGroups groups;
    private final MoeTransformer model;

    /**
     * @param threads of the CPU backend; there is only one rank, so all cores are its own
     */
    private LoadedModel(TrainedRun run, int threads) {
        FourfoldConfig trained = run.config();
        config = new FourfoldConfig(
                trained.model(), trained.recipe(), ONE_RANK, trained.data(), trained.train(), trained.run());
        backend = opened(new CpuBackend(threads));
        CommunicationWorld world = opened(InProcessWorld.create(1).get(0));
        groups = opened(ProcessGroups.create(ParallelMapping.of(ONE_RANK), world));
        model = opened(MoeTransformer.create(config, backend, groups));
        WeightLoader.load(model.parameters(), backend, run.checkpoint());
        model.parametersChanged(run.checkpoint().identity().step());
    }

    static LoadedModel of(TrainedRun run) {
        return new LoadedModel(run, Runtime.getRuntime().availableProcessors());
    }

    private <T extends AutoCloseable> T opened(T resource) {
        open.push(resource);
        return resource;
    }

    /** The run's configuration with one rank. */
    FourfoldConfig config() {
        return config;
    }

    Backend backend() {
        return backend;
    }

    ProcessGroups groups() {
        return groups;
    }

    MoeTransformer model() {
        return model;
    }

    @Override
    public void close() {
        RuntimeException first = null;
        while (!open.isEmpty()) {
            try {
                open.pop().close();
            } catch (Exception e) {
                RuntimeException failure =
                        e instanceof RuntimeException runtime ? runtime : new IllegalStateException(e);
                if (first == null) {
                    first = failure;
                } else {
                    first.addSuppressed(failure);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
