package io.fourfold.eval;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.checkpoint.WeightLoader;
import io.fourfold.config.FourfoldConfig;
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
import org.jspecify.annotations.Nullable;

/** A checkpoint's model on one rank, whatever mapping it was trained with, ready to evaluate or to generate. */
public final class TrainedModel implements AutoCloseable {
    private static final ParallelConfig ONE_RANK = new ParallelConfig(1, 1, 1, 1, 1, 1, 1);

    private final TrainedRun run;
    private final FourfoldConfig config;
    private final Backend backend;
    private final CommunicationWorld world;
    private final ProcessGroups groups;
    private final MoeTransformer model;

    private TrainedModel(TrainedRun run, Backend backend, CommunicationWorld world) {
        this.run = run;
        this.backend = backend;
        this.world = world;
        FourfoldConfig c = run.config();
        config = new FourfoldConfig(c.model(), c.recipe(), ONE_RANK, c.data(), c.train(), c.run());
        groups = ProcessGroups.create(ParallelMapping.of(ONE_RANK), world);
        model = MoeTransformer.create(config, backend, groups);
        WeightLoader.load(model.parameters(), backend, run.checkpoint());
        model.parametersChanged();
    }

    /**
     * Loads a model on the CPU backend.
     *
     * @param storage the run folder
     * @param step which checkpoint; null = the newest
     * @param threads CPU threads for matrix products
     */
    public static TrainedModel open(RunStorage storage, @Nullable Integer step, int threads) {
        TrainedRun run = TrainedRun.open(storage, step);
        try {
            return new TrainedModel(
                    run, new CpuBackend(threads), InProcessWorld.create(1).get(0));
        } catch (RuntimeException e) {
            run.close();
            throw e;
        }
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
        model.close();
        groups.close();
        world.close();
        backend.close();
        run.close();
    }
}
