package io.fourfold.train;

import io.fourfold.checkpoint.Checkpoint;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.metrics.EventKind;
import io.fourfold.model.MoeTransformer;
import io.fourfold.optim.ShardedAdamW;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.util.ArrayList;
import java.util.List;

/**
 * Trains one rank from the newest checkpoint, or from the start, to the last step. Plain Java: every rank of the world
 * runs its own trainer on its own thread or process.
 *
 * <p>The same configuration gives the same bits from run to run and across a stop and resume at any step. Another number
 * of ranks gives the same batches in the same order, and equal results but for the rounding of sums.
 */
public final class Trainer {
    /** Makes the model of a rank. */
    @FunctionalInterface
    public interface ModelFactory {
        TrainableModel create(TrainerInputs inputs, ProcessGroups groups);
    }

    private final TrainerInputs inputs;
    private final ModelFactory factory;

    public Trainer(TrainerInputs inputs) {
        this(inputs, (in, groups) -> TrainableModel.of(MoeTransformer.create(in.config(), in.backend(), groups)));
    }

    public Trainer(TrainerInputs inputs, ModelFactory factory) {
        this.inputs = inputs;
        this.factory = factory;
    }

    /**
     * Collective over the world. A failure of this rank aborts the world, so that no other rank waits for it.
     *
     * @throws TrainingException when loss or gradient norm is not finite, on every rank
     * @throws io.fourfold.checkpoint.CheckpointException when a checkpoint is there but cannot be continued from
     */
    public TrainResult run() {
        try {
            return train();
        } catch (TrainingException e) {
            if (e.code() != TrainingException.Code.TRAIN_NON_FINITE) {
                abort(e);
            }
            throw e; // a non-finite step ends every rank alike, so nobody waits
        } catch (RuntimeException | Error e) {
            abort(e);
            throw e;
        }
    }

    private void abort(Throwable e) {
        inputs.world().abort("rank " + inputs.world().rank() + " failed: " + FailureReason.of(e));
    }

    private TrainResult train() {
        FourfoldConfig config = inputs.config();
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        try (ProcessGroups groups = ProcessGroups.create(mapping, inputs.world());
                TrainableModel model = factory.create(inputs, groups);
                ShardedAdamW optimizer = new ShardedAdamW(
                        inputs.backend(),
                        model.parameters(),
                        config.train().optimizer(),
                        config.parallel().gradients(),
                        groups)) {
            model.listen(optimizer.listener());
            WorldAgreement agreement = new WorldAgreement(inputs.backend(), groups.world());
            CheckpointStore store = new CheckpointStore(inputs.run());
            TrainingState state = new TrainingState(inputs.backend(), model.parameters(), optimizer, agreement);
            try (Saver saver = new Saver(inputs, store, agreement, state, mapping)) {
                List<Notice> notices = new ArrayList<>();
                Resume resume = new Resume(store, agreement, config, inputs.identity(), notices);
                Progress start = start(model, state, saver, resume, notices);
                return new TrainingLoop(inputs, groups, model, optimizer, agreement, saver).run(start, notices);
            }
        }
    }

    /** Continues from a checkpoint or initialises. */
    private Progress start(
            TrainableModel model, TrainingState state, Saver saver, Resume resume, List<Notice> notices) {
        try (Checkpoint checkpoint = resume.choose()) {
            saver.removeUncommitted(notices);
            if (checkpoint == null) {
                model.initialize(inputs.config().train().seed());
                return Progress.START;
            }
            state.load(checkpoint);
            var identity = checkpoint.identity();
            model.parametersChanged(identity.step());
            saver.loaded(checkpoint.location(), identity.step());
            String changed = identity.configHash().isEmpty()
                            || identity.configHash().equals(inputs.identity().configHash())
                    ? ""
                    : "; the configuration has changed since";
            notices.add(new Notice(
                    identity.step(),
                    EventKind.RESUME,
                    "continuing after step " + identity.step() + " from " + checkpoint.location() + changed));
            return new Progress(identity.step(), identity.samples(), identity.tokens());
        }
    }
}
