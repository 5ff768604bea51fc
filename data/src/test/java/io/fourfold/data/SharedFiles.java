package io.fourfold.data;

import com.github.luben.zstd.ZstdInputStream;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** Large files kept beside the checkout; tests that want them are skipped where they are absent. */
public final class SharedFiles {
    private SharedFiles() {}

    /** The file, or the test is skipped. */
    public static Path require(String relative) {
        String root = System.getProperty("fourfold.shared");
        Path file = root == null ? null : Path.of(root).resolve(relative);
        if (file == null || !Files.isRegularFile(file)) {
            System.out.println("Skipped: no " + relative + " under fourfold.shared=" + root);
            return Assumptions.abort("no " + relative + " under fourfold.shared=" + root);
        }
        return file;
    }

    /** Decompresses a .zst file. */
    public static byte[] unzstd(Path file) {
        try (InputStream in = new ZstdInputStream(new BufferedInputStream(Files.newInputStream(file)))) {
            return in.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A file of the checkout. */
    public static Path repository(String relative) {
        String root = System.getProperty("fourfold.root");
        if (root == null) {
            return Assumptions.abort("fourfold.root is not set");
        }
        return Path.of(root).resolve(relative);
    }
}
