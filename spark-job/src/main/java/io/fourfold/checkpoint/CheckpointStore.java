package io.fourfold.checkpoint;

import io.fourfold.kernels.Backend;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The checkpoints of a run: {@code checkpoints/step-00000120/{manifest.json, rank-*.bin, rank-*.json, COMMIT}}.
 *
 * <p>A save is written aside into {@code step-00000120.tmp}, renamed, and only then marked with COMMIT; a folder without
 * that marker does not count, also on object stores where a rename is not atomic. Loading verifies every file's hash.
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
            throw new CheckpointException("cannot list " + location() + ": " + e, e);
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

    /**
     * Saves collectively: every rank gives its sections. I/O failures are reported, not thrown; what was written aside is
     * then removed and older checkpoints stay.
     *
     * @param keepLast newest checkpoints to keep, this one included
     */
    public SaveOutcome save(
            CheckpointManifest.Identity identity,
            List<TensorSection> sections,
            Backend backend,
            Agreement agreement,
            int keepLast) {
        String target = folder + "/" + CheckpointFiles.folderName(identity.step());
        String aside = target + CheckpointFiles.TEMPORARY;
        boolean first = agreement.rank() == 0;
        String failure = agreement.firstFailure(attempt(agreement, first, () -> removeTemporary()));
        if (failure == null) {
            failure = agreement.firstFailure(
                    attempt(agreement, true, () -> writeRank(aside, agreement.rank(), sections, backend)));
        }
        if (failure == null) {
            failure = agreement.firstFailure(
                    attempt(agreement, first, () -> commit(identity, aside, target, agreement.size())));
        }
        String cleanUp = failure == null
                ? attempt(agreement, first, () -> prune(identity.step(), keepLast))
                : attempt(agreement, first, () -> storage.delete(aside));
        cleanUp = agreement.firstFailure(cleanUp);
        String problem = failure == null ? cleanUp : cleanUp == null ? failure : failure + "; then " + cleanUp;
        return new SaveOutcome(failure == null ? storage.location() + "/" + target : null, problem);
    }

    private void writeRank(String aside, int rank, List<TensorSection> sections, Backend backend) throws IOException {
        RankIndex index = new RankFileWriter(backend, storage).write(aside, rank, sections);
        storage.writeText(
                aside + "/" + CheckpointFiles.indexName(rank), CheckpointFiles.MAPPER.writeValueAsString(index));
    }

    private void commit(CheckpointManifest.Identity identity, String aside, String target, int ranks)
            throws IOException {
        Map<String, long[]> tensors = new TreeMap<>();
        List<CheckpointManifest.IndexFile> files = new ArrayList<>();
        for (int rank = 0; rank < ranks; rank++) {
            String name = CheckpointFiles.indexName(rank);
            byte[] bytes = storage.readAll(aside + "/" + name);
            tensors.putAll(
                    CheckpointFiles.MAPPER.readValue(bytes, RankIndex.class).shapes());
            files.add(new CheckpointManifest.IndexFile(name, bytes.length, Sha256.hex(bytes)));
        }
        String manifest = CheckpointFiles.MAPPER
                .writerWithDefaultPrettyPrinter()
                .writeValueAsString(
                        new CheckpointManifest(CheckpointManifest.FORMAT_VERSION, identity, tensors, files));
        storage.writeText(aside + "/" + CheckpointFiles.MANIFEST, manifest);
        publish(aside, target, Sha256.hex(manifest) + "\n");
    }

    /** Renames and marks. A folder of that name, unusable or the run would not be here, goes only after that. */
    private void publish(String aside, String target, String marker) throws IOException {
        String replaced = target + ".replaced" + CheckpointFiles.TEMPORARY;
        boolean replaces = storage.exists(target);
        if (replaces) {
            storage.rename(target, replaced);
        }
        try {
            storage.rename(aside, target);
            storage.writeText(target + "/" + CheckpointFiles.COMMIT, marker);
        } catch (IOException e) {
            try {
                storage.delete(target);
                if (replaces) {
                    storage.rename(replaced, target);
                }
            } catch (IOException second) {
                e.addSuppressed(second);
            }
            throw e;
        }
    }

    /** Keeps the newest {@code keepLast} up to {@code step}. Later ones, that the run fell back from, are not touched. */
    private void prune(int step, int keepLast) throws IOException {
        List<Integer> past = CheckpointFiles.committedSteps(storage, folder).stream()
                .filter(s -> s <= step)
                .toList();
        List<Integer> kept = past.subList(Math.max(0, past.size() - keepLast), past.size());
        for (String name : storage.list(folder)) {
            int found = CheckpointFiles.stepOf(name);
            if (found >= 0 && found <= step && !kept.contains(found)) {
                // Without its marker a half-deleted folder is no checkpoint.
                storage.delete(folder + "/" + name + "/" + CheckpointFiles.COMMIT);
                storage.delete(folder + "/" + name);
            }
        }
        removeTemporary();
    }

    private void removeTemporary() throws IOException {
        for (String name : storage.list(folder)) {
            if (CheckpointFiles.isTemporary(name)) {
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
            return "rank " + agreement.rank() + " in " + location() + ": " + e;
        }
    }
}
