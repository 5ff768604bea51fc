package io.fourfold.hf;

import io.fourfold.checkpoint.Agreement;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.GlobalTensorSource;
import io.fourfold.checkpoint.ModelFingerprint;
import io.fourfold.checkpoint.Retention;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.SaveOutcome;
import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.FailureReason;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.kernels.Backend;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;

/**
 * Turns a Hugging Face folder into a run folder that training starts from: what {@code fourfold import} does. It writes a
 * checkpoint of step 0 without optimizer state, and {@code model.yaml}, a configuration layer with the model.
 */
public final class ImportJob {
    private ImportJob() {}

    /**
     * Imports.
     *
     * @param from the Hugging Face folder
     * @param run the run folder; must not have checkpoints
     * @param backend holds one tensor at a time
     * @param codeVersion version of the program, for the manifest
     * @throws HfException when the folder cannot be imported or the run folder not be written
     */
    public static ImportReport run(Path from, RunStorage run, Backend backend, String codeVersion) {
        CheckpointStore store = new CheckpointStore(run);
        if (!store.steps().isEmpty()) {
            throw new HfException(store.location() + " already has checkpoints (steps " + store.steps()
                    + "): import into a new run folder; nothing was changed");
        }
        try (HfModel model = HfImporter.open(from)) {
            GlobalTensorSource tensors = model.tensors();
            run.writeText(TrainedRun.MODEL, ResolvedConfig.section("model", model.config()));
            SaveOutcome saved;
            try (TensorSections sections = new TensorSections(tensors, backend)) {
                saved = store.save(
                        identity(model.config(), codeVersion), sections, backend, Agreement.alone(), Retention.last(1));
            }
            if (saved.location() == null) {
                throw new HfException("the import into " + run.location() + " failed: " + saved.problem()
                        + ". Check the disk and the permissions");
            }
            long parameters = tensors.names().stream()
                    .mapToLong(name -> SafetensorsHeader.elements(tensors.shape(name)))
                    .sum();
            return new ImportReport(model.config(), TrainedRun.MODEL, saved.location(), parameters);
        } catch (IOException e) {
            throw new HfException("cannot write into " + run.location() + ": " + FailureReason.of(e), e);
        }
    }

    private static CheckpointManifest.Identity identity(ModelConfig model, String codeVersion) {
        var json = ModelFingerprint.json(model);
        String created = Instant.now().truncatedTo(ChronoUnit.SECONDS).toString();
        return new CheckpointManifest.Identity(
                0, 0, 0, 0, "", ModelFingerprint.of(json), "", Map.of("world", 1), json, codeVersion, created);
    }
}
