package io.fourfold.train;

import io.fourfold.checkpoint.Agreement;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.ModelFingerprint;
import io.fourfold.checkpoint.SaveOutcome;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.metrics.EventKind;
import io.fourfold.parallel.ParallelMapping;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** Saves the run's state and reports how it went. A save that fails is an event; training goes on. */
final class Saver {
    private final TrainerInputs inputs;
    private final CheckpointStore store;
    private final Agreement agreement;
    private final TrainingState state;
    private final CheckpointManifest.Identity template;
    private @Nullable String newest;
    private int newestStep;

    Saver(
            TrainerInputs inputs,
            CheckpointStore store,
            Agreement agreement,
            TrainingState state,
            ParallelMapping mapping) {
        this.inputs = inputs;
        this.store = store;
        this.agreement = agreement;
        this.state = state;
        FourfoldConfig config = inputs.config();
        var model = ModelFingerprint.json(config.model());
        template = new CheckpointManifest.Identity(
                0,
                0,
                0,
                config.train().seed(),
                inputs.identity().configHash(),
                ModelFingerprint.of(model),
                inputs.identity().tokenizerFingerprint(),
                degrees(mapping),
                model,
                inputs.identity().codeVersion(),
                "");
    }

    /** The run continues from this checkpoint. */
    void loaded(String location, int step) {
        newest = location;
        newestStep = step;
    }

    /** Folder of the newest checkpoint, or null. */
    @Nullable
    String newest() {
        return newest;
    }

    /** Collective; does nothing when the newest checkpoint is of this step. */
    void save(Progress progress) {
        int step = progress.step();
        if (newest != null && newestStep == step) {
            return;
        }
        long start = System.nanoTime();
        SaveOutcome outcome = store.save(
                identity(progress),
                state.sections(),
                inputs.backend(),
                agreement,
                inputs.config().run().checkpoint().keepLast());
        if (outcome.location() != null) {
            newest = outcome.location();
            newestStep = step;
            inputs.sink()
                    .event(
                            step,
                            EventKind.CHECKPOINT,
                            "saved " + newest + " in %.1f s".formatted((System.nanoTime() - start) * 1e-9));
            if (outcome.problem() != null) {
                inputs.sink()
                        .event(step, EventKind.WARNING, "old checkpoints could not be removed: " + outcome.problem());
            }
        } else {
            inputs.sink()
                    .event(
                            step,
                            EventKind.CHECKPOINT_FAILED,
                            "not saved, training goes on: " + outcome.problem() + ". "
                                    + (newest == null
                                            ? "There is no checkpoint yet."
                                            : "The last one is " + newest + ".")
                                    + " Free space or fix permissions before the next save.");
        }
    }

    private CheckpointManifest.Identity identity(Progress progress) {
        return new CheckpointManifest.Identity(
                progress.step(),
                progress.samples(),
                progress.tokens(),
                template.seed(),
                template.configHash(),
                template.modelFingerprint(),
                template.tokenizerFingerprint(),
                template.mapping(),
                template.model(),
                template.codeVersion(),
                Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
    }

    private static Map<String, Integer> degrees(ParallelMapping mapping) {
        Map<String, Integer> degrees = new TreeMap<>();
        degrees.put("world", mapping.worldSize());
        degrees.put("tp", mapping.tensor());
        degrees.put("cp", mapping.context());
        degrees.put("dp", mapping.data());
        degrees.put("pp", mapping.pipeline());
        degrees.put("etp", mapping.expertTensor());
        degrees.put("ep", mapping.expert());
        degrees.put("edp", mapping.expertData());
        return degrees;
    }
}
