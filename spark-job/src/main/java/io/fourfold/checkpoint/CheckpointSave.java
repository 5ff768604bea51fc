package io.fourfold.checkpoint;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * One checkpoint in the making. Every rank writes its part, in any order and without the others; once all have, one of
 * them commits. Until then the folder does not count, and what it held before stays. Nothing is renamed, so a save is as
 * safe on an object store as on a disk. No method is collective; I/O errors are thrown.
 */
public final class CheckpointSave {
    private final RunStorage storage;
    private final String folder;
    private final SaveName name;

    CheckpointSave(RunStorage storage, String checkpoints, SaveName name) {
        this.storage = storage;
        this.folder = checkpoints + "/" + name.folder();
        this.name = name;
    }

    /** Full path of the checkpoint's folder. */
    public String location() {
        return storage.location() + "/" + folder;
    }

    public int step() {
        return name.step();
    }

    /** Writes this rank's data file and then its index; both are complete and durable when this returns. */
    public void writeRank(int rank, List<TensorSection> sections, SectionReader reader) throws IOException {
        RankIndex index = new RankFileWriter(reader, storage).write(folder, name.data(rank), rank, sections);
        storage.writeText(folder + "/" + name.index(rank), CheckpointFiles.MAPPER.writeValueAsString(index));
    }

    /**
     * Makes the checkpoint count. To be called once, after ranks 0 to {@code ranks} - 1 have written.
     *
     * @throws IOException also when the parts do not hold every element of their tensors
     */
    public void commit(CheckpointManifest.Identity identity, int ranks) throws IOException {
        Map<String, long[]> tensors = new TreeMap<>();
        List<CheckpointManifest.IndexFile> files = new ArrayList<>();
        Coverage coverage = new Coverage();
        for (int rank = 0; rank < ranks; rank++) {
            byte[] bytes = storage.readAll(folder + "/" + name.index(rank));
            RankIndex index = CheckpointFiles.MAPPER.readValue(bytes, RankIndex.class);
            tensors.putAll(index.shapes());
            coverage.add(index);
            files.add(new CheckpointManifest.IndexFile(name.index(rank), bytes.length, Sha256.hex(bytes)));
        }
        coverage.requireComplete(tensors);
        String manifest = CheckpointFiles.MAPPER
                .writerWithDefaultPrettyPrinter()
                .writeValueAsString(
                        new CheckpointManifest(CheckpointManifest.FORMAT_VERSION, identity, tensors, files));
        storage.writeText(folder + "/" + name.manifest(), manifest);
        mark(Sha256.hex(manifest) + "  " + name.manifest() + "\n");
    }

    /** A checkpoint of this step that was there before is replaced only when the new marker is on disk already. */
    private void mark(String marker) throws IOException {
        String commit = folder + "/" + CheckpointFiles.COMMIT;
        if (!storage.exists(commit)) {
            try {
                storage.writeText(commit, marker);
            } catch (IOException e) {
                deleteQuietly(commit, e);
                throw e;
            }
            return;
        }
        String next = folder + "/" + CheckpointFiles.NEXT_COMMIT;
        try {
            storage.writeText(next, marker);
        } catch (IOException e) {
            deleteQuietly(next, e);
            throw e;
        }
        storage.delete(commit);
        storage.rename(next, commit);
    }

    private void deleteQuietly(String file, IOException cause) {
        try {
            storage.delete(file);
        } catch (IOException e) {
            cause.addSuppressed(e);
        }
    }

    /** Removes the files of this save, and the folder when nothing else is in it. No rank may be writing any more. */
    public void discard() throws IOException {
        for (String file : storage.list(folder)) {
            if (name.owns(file)) {
                storage.delete(folder + "/" + file);
            }
        }
        if (storage.list(folder).isEmpty()) {
            storage.delete(folder);
        }
    }

    /** Removes what the committed checkpoint's folder holds of others: of an earlier attempt or a replaced checkpoint. */
    void removeForeignFiles() throws IOException {
        for (String file : storage.list(folder)) {
            if (!name.owns(file) && !file.equals(CheckpointFiles.COMMIT)) {
                storage.delete(folder + "/" + file);
            }
        }
    }
}
