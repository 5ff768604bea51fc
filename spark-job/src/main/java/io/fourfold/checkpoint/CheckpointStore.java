package io.fourfold.checkpoint;

import io.fourfold.config.FailureReason;
import io.fourfold.kernels.Backend;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The checkpoints of a run: {@code checkpoints/step-00000120/{COMMIT, manifest.*.json, rank-*.bin, rank-*.json}}.
 *
 * <p>The COMMIT marker is written last and names the manifest; a folder without it does not count. Loading verifies every
 * file's hash.
 */
public final class CheckpointStore {
    private final RunStorage storage;
    private final String folder;

    /** Checkpoints in the folder {@code checkpoints} of a run. */
    public CheckpointStore(RunStorage run) {
        this(run, "checkpoints");
    }

    public CheckpointStore(RunStorage storage, String folder) {
        this.storage = storage;
        this.folder = folder;
    }

    public String location() {
        return storage.location() + "/" + folder;
    }

    /** Steps of the committed checkpoints, ascending. Their files have not been verified. */
    public List<Integer> steps() {
        try {
            return CheckpointFiles.committedSteps(storage, folder);
        } catch (IOException e) {
            throw new CheckpointException("cannot list " + location() + ": " + FailureReason.of(e), e);
        }
    }

    /**
     * Opens the checkpoint of a step; verifies manifest, indexes and file lengths. Call {@link Checkpoint#verify} for the
     * data.
     */
    public Checkpoint open(int step) {
        return CheckpointFiles.open(storage, folder + "/" + CheckpointFiles.folderName(step));
    }

    /** Opens and fully verifies the newest committed checkpoint. */
    public Checkpoint openNewest() {
        List<Integer> steps = steps();
        if (steps.isEmpty()) {
            throw new CheckpointException("no complete checkpoint in " + location()
                    + ". Train first ('fourfold train'), or give the run folder of a finished run.");
        }
        Checkpoint checkpoint = open(steps.get(steps.size() - 1));
        try {
            checkpoint.verify(0, 1);
            return checkpoint;
        } catch (CheckpointException e) {
            checkpoint.close();
            throw e;
        }
    }

    /** What {@code inspect} shows of every checkpoint, ascending, the unusable ones with their problem. */
    public List<CheckpointSummary> summaries(boolean verifyData) {
        return steps().stream().map(step -> summary(step, verifyData)).toList();
    }

    /** What is in one checkpoint; with {@code verify} its data files are read and compared with their hashes. */
    public CheckpointContents contents(int step, boolean verify) {
        try (Checkpoint checkpoint = open(step)) {
            return checkpoint.contents(verify);
        }
    }

    private CheckpointSummary summary(int step, boolean verifyData) {
        try (Checkpoint checkpoint = open(step)) {
            if (verifyData) {
                checkpoint.verify(0, 1);
            }
            return CheckpointSummary.of(checkpoint);
        } catch (CheckpointException e) {
            return CheckpointSummary.unusable(
                    step, location() + "/" + CheckpointFiles.folderName(step), String.valueOf(e.getMessage()));
        }
    }

    /** A checkpoint to be written; every rank gives the same name. */
    public CheckpointSave begin(SaveName name) {
        return new CheckpointSave(storage, folder, name);
    }

    /**
     * Saves collectively: every rank gives its sections and waits for all. I/O failures are reported, not thrown; what was
     * written is then removed and older checkpoints stay.
     */
    public SaveOutcome save(
            CheckpointManifest.Identity identity,
            List<TensorSection> sections,
            Backend backend,
            Agreement agreement,
            Retention retention) {
        String attempt = agreement.fromFirstRank(SaveName.newAttempt());
        CheckpointSave save = begin(SaveName.of(identity.step(), attempt, 0));
        boolean first = agreement.rank() == 0;
        String failure = agreement.firstFailure(
                attempt(agreement, true, () -> save.writeRank(agreement.rank(), sections, SectionReader.of(backend))));
        if (failure == null) {
            failure = agreement.firstFailure(attempt(agreement, first, () -> save.commit(identity, agreement.size())));
        }
        String cleanUp = agreement.firstFailure(
                failure == null
                        ? attempt(agreement, first, () -> prune(save, retention))
                        : attempt(agreement, first, save::discard));
        String problem = failure == null ? cleanUp : cleanUp == null ? failure : failure + "; then " + cleanUp;
        return new SaveOutcome(failure == null ? save.location() : null, problem);
    }

    /**
     * After a commit: removes the checkpoints up to its step that need not stay. Later ones, that the run fell back from,
     * are not touched.
     */
    public void prune(CheckpointSave committed, Retention retention) throws IOException {
        int step = committed.step();
        committed.removeForeignFiles();
        List<Integer> past = CheckpointFiles.committedSteps(storage, folder).stream()
                .filter(s -> s <= step)
                .toList();
        List<Integer> kept = past.subList(Math.max(0, past.size() - retention.keepLast()), past.size());
        for (String name : storage.list(folder)) {
            int found = CheckpointFiles.stepOf(name);
            if (found >= 0 && found <= step && !kept.contains(found) && !retention.forEver(found)) {
                // Without its marker a half-deleted folder is no checkpoint.
                storage.delete(folder + "/" + name + "/" + CheckpointFiles.COMMIT);
                storage.delete(folder + "/" + name);
            }
        }
    }

    /** Removes what saves that were never committed have left. No rank may be saving. */
    public void removeUncommitted() throws IOException {
        for (String name : storage.list(folder)) {
            if (CheckpointFiles.isTemporary(name)
                    || (CheckpointFiles.stepOf(name) >= 0
                            && !storage.exists(folder + "/" + name + "/" + CheckpointFiles.COMMIT))) {
                storage.delete(folder + "/" + name);
            }
        }
    }

    /** An action that may fail with the file system. */
    @FunctionalInterface
    private interface StorageAction {
        void run() throws IOException;
    }

    private @Nullable String attempt(Agreement agreement, boolean mine, StorageAction action) {
        if (!mine) {
            return null;
        }
        try {
            action.run();
            return null;
        } catch (IOException | UncheckedIOException e) {
            return "rank " + agreement.rank() + " in " + location() + ": " + FailureReason.of(e);
        }
    }
}
