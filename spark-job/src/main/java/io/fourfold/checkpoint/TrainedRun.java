package io.fourfold.checkpoint;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/**
 * A run folder opened for evaluation, generation or export: its configuration and one checkpoint.
 *
 * @param config the resolved {@code config.yaml}, or {@code model.yaml} with defaults in a folder made by an import
 * @param checkpoint open and verified
 */
public record TrainedRun(FourfoldConfig config, Checkpoint checkpoint) implements AutoCloseable {
    /** The resolved configuration that training writes. */
    public static final String CONFIG = "config.yaml";

    /** The model section that an import writes. */
    public static final String MODEL = "model.yaml";

    private static final int DEFAULT_LENGTH = 1024;

    /**
     * Opens a run.
     *
     * @param step which checkpoint; null = the newest
     * @throws CheckpointException when there is none, it is damaged, or it is of another model than the configuration
     */
    public static TrainedRun open(RunStorage run, @Nullable Integer step) {
        FourfoldConfig config = config(run);
        CheckpointStore store = new CheckpointStore(run);
        Checkpoint checkpoint = step == null ? store.openNewest() : openStep(store, step);
        String expected = ModelFingerprint.of(ModelFingerprint.json(config.model()));
        if (!checkpoint.identity().modelFingerprint().equals(expected)) {
            checkpoint.close();
            throw new CheckpointException(checkpoint.location()
                    + " is of another model than the configuration beside it: "
                    + String.join(
                            "; ",
                            ModelFingerprint.differences(
                                    ModelFingerprint.json(config.model()),
                                    checkpoint.identity().model()))
                    + ". Put the config.yaml of the run that made the checkpoint there.");
        }
        return new TrainedRun(config, checkpoint);
    }

    private static Checkpoint openStep(CheckpointStore store, int step) {
        if (!store.steps().contains(step)) {
            throw new CheckpointException(
                    store.location() + " has no complete checkpoint of step " + step + "; there are " + store.steps());
        }
        Checkpoint checkpoint = store.open(step);
        try {
            checkpoint.verify(0, 1);
        } catch (CheckpointException e) {
            checkpoint.close();
            throw e;
        }
        return checkpoint;
    }

    private static FourfoldConfig config(RunStorage run) {
        try {
            if (run.exists(CONFIG)) {
                return parse(run, CONFIG, "");
            }
            if (!run.exists(MODEL)) {
                throw new CheckpointException(run.location() + " has neither " + CONFIG + " nor " + MODEL
                        + ": it is no run folder. Give the folder that 'fourfold train' or 'fourfold import' made.");
            }
            // The model alone; the default sequence length may be more than it can take.
            int longest =
                    parse(run, MODEL, "train: {sequence_length: 2}\n").model().maxPositions();
            return parse(run, MODEL, "train: {sequence_length: " + Math.min(longest, DEFAULT_LENGTH) + "}\n");
        } catch (IOException e) {
            throw new CheckpointException(
                    "cannot read the configuration in " + run.location() + ": " + FailureReason.of(e), e);
        }
    }

    private static FourfoldConfig parse(RunStorage run, String name, String more) throws IOException {
        String yaml = new String(run.readAll(name), StandardCharsets.UTF_8);
        return ConfigLoader.parse(run.location() + "/" + name, yaml + more).config();
    }

    @Override
    public void close() {
        checkpoint.close();
    }
}
