package io.fourfold.train;

import com.fasterxml.jackson.databind.JsonNode;
import io.fourfold.checkpoint.Agreement;
import io.fourfold.checkpoint.Checkpoint;
import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.ModelFingerprint;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.metrics.EventKind;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Chooses the checkpoint a run continues from: the newest one whose files all have their hashes. The ranks share the
 * reading; a corrupt checkpoint is reported and the one before is tried. A checkpoint of another model is an error.
 */
final class Resume {
    private static final int DIFFERENCES_SHOWN = 8;

    private final CheckpointStore store;
    private final Agreement agreement;
    private final FourfoldConfig config;
    private final RunIdentity identity;
    private final List<Notice> notices;

    Resume(
            CheckpointStore store,
            Agreement agreement,
            FourfoldConfig config,
            RunIdentity identity,
            List<Notice> notices) {
        this.store = store;
        this.agreement = agreement;
        this.config = config;
        this.identity = identity;
        this.notices = notices;
    }

    /** Collective; the same checkpoint on every rank, open, or null when there is none. */
    @Nullable
    Checkpoint choose() {
        List<Integer> steps = steps();
        if (steps.isEmpty()) {
            return null;
        }
        if (!config.run().checkpoint().resume()) {
            throw new CheckpointException(store.location() + " already has checkpoints up to step "
                    + steps.get(steps.size() - 1)
                    + ", but run.checkpoint.resume is false. Set it to true to continue that run, or set another"
                    + " run.dir to start a new one; nothing was changed.");
        }
        StringBuilder problems = new StringBuilder();
        for (int i = steps.size() - 1; i >= 0; i--) {
            Checkpoint checkpoint = tryOpen(steps.get(i), problems);
            if (checkpoint != null) {
                requireSameRun(checkpoint);
                return checkpoint;
            }
        }
        throw new CheckpointException("no checkpoint in " + store.location() + " is usable:" + problems
                + "\nRestore one of them from a copy, or delete them all to start from step 0.");
    }

    private List<Integer> steps() {
        String mine = store.steps().stream().map(String::valueOf).collect(Collectors.joining(","));
        String agreed = agreement.fromFirstRank(mine);
        return agreed.isEmpty()
                ? List.of()
                : Arrays.stream(agreed.split(",", -1)).map(Integer::valueOf).toList();
    }

    private @Nullable Checkpoint tryOpen(int step, StringBuilder problems) {
        Checkpoint checkpoint = null;
        String problem = null;
        try {
            checkpoint = store.open(step);
            checkpoint.verify(agreement.rank(), agreement.size());
        } catch (CheckpointException e) {
            problem = String.valueOf(e.getMessage());
        }
        problem = agreement.firstFailure(problem);
        if (problem == null) {
            return checkpoint;
        }
        if (checkpoint != null) {
            checkpoint.close();
        }
        problems.append("\n  step ").append(step).append(": ").append(problem);
        notices.add(new Notice(step, EventKind.WARNING, "checkpoint skipped: " + problem + " Trying the one before."));
        return null;
    }

    private void requireSameRun(Checkpoint checkpoint) {
        CheckpointManifest.Identity found = checkpoint.identity();
        JsonNode model = ModelFingerprint.json(config.model());
        if (!found.modelFingerprint().equals(ModelFingerprint.of(model))) {
            List<String> differences = ModelFingerprint.differences(model, found.model());
            String shown = differences.stream().limit(DIFFERENCES_SHOWN).collect(Collectors.joining("; "));
            throw mismatch(
                    checkpoint,
                    "it is of another model (configured | in the checkpoint): " + shown
                            + (differences.size() > DIFFERENCES_SHOWN ? "; ..." : ""));
        }
        // Before the first sample, as in an imported model, no order has been begun.
        if (found.samples() > 0 && found.seed() != config.train().seed()) {
            throw mismatch(
                    checkpoint,
                    "it was trained with train.seed " + found.seed() + ", configured is "
                            + config.train().seed() + ", so the order of the data would change");
        }
        String tokenizer = identity.tokenizerFingerprint();
        if (!tokenizer.isEmpty()
                && !found.tokenizerFingerprint().isEmpty()
                && !tokenizer.equals(found.tokenizerFingerprint())) {
            throw mismatch(
                    checkpoint,
                    "it was trained with tokenizer " + found.tokenizerFingerprint() + ", the data has " + tokenizer);
        }
    }

    private static CheckpointException mismatch(Checkpoint checkpoint, String why) {
        String location = checkpoint.location();
        checkpoint.close();
        return new CheckpointException(location + " does not belong to this run: " + why
                + ". Use the configuration of that run (config.yaml beside it), or set another run.dir; nothing was"
                + " changed.");
    }
}
