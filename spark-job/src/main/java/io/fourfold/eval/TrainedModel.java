package io.fourfold.eval;

import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.checkpoint.WeightLoader;
import io.fourfold.config.ContextExchange;
import io.fourfold.config.DispatchUnit;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.GradientConfig;
import io.fourfold.config.ParallelConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.model.EvaluationPrecision;
import io.fourfold.model.MoeTransformer;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;

/** A checkpoint's model on one rank, whatever mapping it was trained with, ready to evaluate or to generate. */
public final class TrainedModel implements AutoCloseable {
    private static final ParallelConfig ONE_RANK = new ParallelConfig(
            1, 1, 1, ContextExchange.GATHER, 1, 1, 1, DispatchUnit.TOKEN, 1, List.of(), GradientConfig.PLAIN);

    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    private final TrainedRun run;
    private final FourfoldConfig config;
    private final Backend backend;
    private final ProcessGroups groups;
    private final MoeTransformer model;

    private TrainedModel(TrainedRun run, int threads) {
        this.run = run;
        try {
            FourfoldConfig c = run.config();
            config = new FourfoldConfig(c.model(), c.recipe(), ONE_RANK, c.data(), c.train(), c.run());
            backend = opened(new CpuBackend(threads));
            CommunicationWorld world = opened(InProcessWorld.create(1).get(0));
            groups = opened(ProcessGroups.create(ParallelMapping.of(ONE_RANK), world));
            model = opened(MoeTransformer.create(config, backend, groups));
            WeightLoader.load(model.parameters(), backend, run.checkpoint());
            model.parametersChanged(step());
        } catch (RuntimeException e) {
            closeAfter(e);
            throw e;
        }
    }

    /**
     * Loads a model on the CPU backend.
     *
     * @param run stays open; the caller closes it
     * @param threads CPU threads for matrix products
     */
    public static TrainedModel of(TrainedRun run, int threads) {
        return new TrainedModel(run, threads);
    }

    private <T extends AutoCloseable> T opened(T resource) {
        open.push(resource);
        return resource;
    }

    /** The run's configuration with a single rank. */
    public FourfoldConfig config() {
        return config;
    }

    /** Training step of the checkpoint. */
    public int step() {
        return run.checkpoint().identity().step();
    }

    /** Full path of the checkpoint. */
    public String location() {
        return run.checkpoint().location();
    }

    Backend backend() {
        return backend;
    }

    Communicator dataParallel() {
        return groups.get(Axis.DP);
    }

    LossModel lossModel(EvaluationPrecision precision) {
        return batch -> model.evaluate(batch, precision);
    }

    LanguageModel languageModel(EvaluationPrecision precision) {
        return tokens -> model.lastLogits(tokens, precision);
    }

    @Override
    public void close() {
        RuntimeException failure = new IllegalStateException("cannot release the model of " + location());
        closeAfter(failure);
        if (failure.getSuppressed().length > 0) {
            throw failure;
        }
    }

    /** Closes all in reverse order; what goes wrong is added to {@code failure}. */
    private void closeAfter(RuntimeException failure) {
        while (!open.isEmpty()) {
            try {
                open.pop().close();
            } catch (Exception e) {
                failure.addSuppressed(e);
            }
        }
    }
}
