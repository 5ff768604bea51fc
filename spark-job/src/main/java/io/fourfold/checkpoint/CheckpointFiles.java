package io.fourfold.checkpoint;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.fourfold.config.FailureReason;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Names and small files of a checkpoint folder. The chain of trust: COMMIT holds the manifest's name and hash, the manifest the
 * indexes' hashes, an index its data file's hash.
 */
final class CheckpointFiles {
    private static final String MANIFEST = "manifest.json";
    static final String COMMIT = "COMMIT";
    static final String NEXT_COMMIT = "COMMIT.next";
    static final String TEMPORARY = ".tmp";

    static final ObjectMapper MAPPER = JsonMapper.builder()
            .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false)
            .build();

    private static final String PREFIX = "step-";

    private CheckpointFiles() {}

    static String folderName(int step) {
        return "%s%08d".formatted(PREFIX, step);
    }

    /** Step of a final folder; -1 for any other name. */
    static int stepOf(String name) {
        if (!name.startsWith(PREFIX) || name.endsWith(TEMPORARY)) {
            return -1;
        }
        try {
            return Integer.parseInt(name.substring(PREFIX.length()));
        } catch (NumberFormatException e) {
            return -1;
        }
    }

    static boolean isTemporary(String name) {
        return name.startsWith(PREFIX) && name.endsWith(TEMPORARY);
    }

    static CheckpointException corrupt(RunStorage storage, String file, String why) {
        return corrupt(storage, file, why, null);
    }

    private static CheckpointException corrupt(RunStorage storage, String file, String why, @Nullable Throwable cause) {
        String message = storage.location() + "/" + file + " cannot be used: " + why
                + ". The file was truncated or changed after it was written. Copy the checkpoint again, or delete its"
                + " folder to continue from the one before.";
        return cause == null ? new CheckpointException(message) : new CheckpointException(message, cause);
    }

    /** Opens a checkpoint and checks everything but the contents of the data files. */
    static Checkpoint open(RunStorage storage, String folder) {
        byte[] commit = read(storage, folder + "/" + COMMIT, "the checkpoint was not completed");
        String[] marker = new String(commit, StandardCharsets.UTF_8).strip().split("\\s+", -1);
        String manifestFile = folder + "/" + (marker.length > 1 ? marker[1] : MANIFEST);
        byte[] manifestBytes = read(storage, manifestFile, "it is missing");
        requireHash(storage, manifestFile, manifestBytes, marker[0]);
        CheckpointManifest manifest = parse(storage, manifestFile, manifestBytes, CheckpointManifest.class);
        if (manifest.formatVersion() != CheckpointManifest.FORMAT_VERSION) {
            throw new CheckpointException(storage.location() + "/" + folder + " has format version "
                    + manifest.formatVersion() + "; this program reads version " + CheckpointManifest.FORMAT_VERSION
                    + ". Use the program version that wrote it ("
                    + manifest.identity().codeVersion() + ").");
        }
        List<RankIndex> ranks = new ArrayList<>();
        for (CheckpointManifest.IndexFile file : manifest.files()) {
            String path = folder + "/" + file.name();
            byte[] bytes = read(storage, path, "it is missing");
            requireHash(storage, path, bytes, file.sha256());
            RankIndex rank = parse(storage, path, bytes, RankIndex.class);
            requireLength(storage, folder + "/" + rank.dataFile(), rank.dataBytes());
            ranks.add(rank);
        }
        return new Checkpoint(storage, folder, manifest, ranks);
    }

    /** Steps whose folder has a COMMIT marker, ascending. */
    static List<Integer> committedSteps(RunStorage storage, String folder) throws IOException {
        Set<Integer> steps = new HashSet<>();
        for (String name : storage.list(folder)) {
            if (stepOf(name) >= 0 && storage.exists(folder + "/" + name + "/" + COMMIT)) {
                steps.add(stepOf(name));
            }
        }
        return steps.stream().sorted().toList();
    }

    private static byte[] read(RunStorage storage, String path, String whenMissing) {
        try {
            return storage.readAll(path);
        } catch (NoSuchFileException | FileNotFoundException e) {
            throw corrupt(storage, path, whenMissing, e);
        } catch (IOException e) {
            throw new CheckpointException(
                    "cannot read " + storage.location() + "/" + path + ": " + FailureReason.of(e), e);
        }
    }

    private static void requireHash(RunStorage storage, String path, byte[] bytes, String expected) {
        String hash = Sha256.hex(bytes);
        if (!hash.equals(expected)) {
            throw corrupt(storage, path, "its SHA-256 is " + hash + ", expected " + expected);
        }
    }

    private static void requireLength(RunStorage storage, String path, long expected) {
        try (StorageInput input = storage.open(path)) {
            if (input.length() != expected) {
                throw corrupt(storage, path, "it has " + input.length() + " bytes, expected " + expected);
            }
        } catch (NoSuchFileException | FileNotFoundException e) {
            throw corrupt(storage, path, "it is missing", e);
        } catch (IOException e) {
            throw new CheckpointException(
                    "cannot read " + storage.location() + "/" + path + ": " + FailureReason.of(e), e);
        }
    }

    private static <T> T parse(RunStorage storage, String path, byte[] bytes, Class<T> type) {
        try {
            return MAPPER.readValue(bytes, type);
        } catch (IOException e) {
            throw corrupt(storage, path, "it cannot be parsed (" + e.getMessage() + ")", e);
        }
    }
}
