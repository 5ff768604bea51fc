package io.fourfold.checkpoint;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * The files of one run folder, on any file system. Paths are relative to the folder and use {@code /}. Thread-safe;
 * several ranks may work on different files at once.
 */
public interface RunStorage {
    /** Where the folder is, for messages. */
    String location();

    /** Opens a new file for writing, with its parent folders; an existing one is replaced. Closing makes it durable. */
    OutputStream create(String path) throws IOException;

    /** Opens a file for positional reads. */
    StorageInput open(String path) throws IOException;

    boolean exists(String path) throws IOException;

    /** Names of the direct children of a folder, sorted; empty when there is no such folder. */
    List<String> list(String folder) throws IOException;

    /** Renames a file or a folder; the target must not exist. Atomic where the file system can. */
    void rename(String from, String to) throws IOException;

    /** Deletes a file or a folder with all it holds; nothing happens when there is none. */
    void delete(String path) throws IOException;

    /** Reads a small file whole. */
    default byte[] readAll(String path) throws IOException {
        try (StorageInput input = open(path)) {
            byte[] bytes = new byte[Math.toIntExact(input.length())];
            input.readFully(0, bytes, 0, bytes.length);
            return bytes;
        }
    }

    /** Writes a small file whole. */
    default void writeText(String path, String text) throws IOException {
        try (OutputStream out = create(path)) {
            out.write(text.getBytes(StandardCharsets.UTF_8));
        }
    }
}
