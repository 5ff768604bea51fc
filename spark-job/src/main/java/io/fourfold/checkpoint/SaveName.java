package io.fourfold.checkpoint;

import java.util.HexFormat;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Names the files of one save. The {@code id} differs from that of every other save, also of one that an earlier attempt
 * of the run began at the same step and whose process may still be writing: it can leave litter, never damage.
 *
 * @param step optimizer steps done
 * @param id letters, digits and dashes
 */
public record SaveName(int step, String id) {
    /** Text for the ids of one attempt's saves; the first rank draws it and tells the others. */
    public static String newAttempt() {
        return HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextInt());
    }

    /**
     * @param attempt from {@link #newAttempt}, the same on all ranks
     * @param number counts the saves of the attempt
     */
    public static SaveName of(int step, String attempt, int number) {
        return new SaveName(step, attempt + "-" + number);
    }

    String folder() {
        return CheckpointFiles.folderName(step);
    }

    String data(int rank) {
        return "rank-%05d.%s.bin".formatted(rank, id);
    }

    String index(int rank) {
        return "rank-%05d.%s.json".formatted(rank, id);
    }

    String manifest() {
        return "manifest.%s.json".formatted(id);
    }

    boolean owns(String file) {
        return file.contains("." + id + ".");
    }
}
