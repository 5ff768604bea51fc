package io.fourfold.spark.prep;

import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.data.DataException;
import io.fourfold.data.ReaderOptions;
import io.fourfold.data.Readers;
import io.fourfold.data.shard.Checksums;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.ShardInfo;
import io.fourfold.data.text.DocumentHash;
import io.fourfold.eval.ReaderSettings;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.HexFormat;
import java.util.List;
import java.util.TreeSet;
import org.apache.hadoop.conf.Configuration;
import org.jspecify.annotations.Nullable;

/**
 * Opens prepared data wherever it lies. Shards are mapped, which needs a local or shared file path; those of another file
 * system are first copied into a folder of this machine, once for all ranks and runs.
 */
public final class PreparedData {
    private static final Object COPYING = new Object();

    private PreparedData() {}

    /**
     * Opens one split as the configuration says.
     *
     * @param tokenizerFingerprint of the configured tokenizer, which the shards must match; null = not checked
     * @param split {@code train} or {@code validation}
     * @param configuration of the file systems, usually {@code spark.sparkContext().hadoopConfiguration()}
     * @throws DataException if the data is missing, damaged, or does not match the tokenizer or the model
     */
    public static BatchReader open(
            FourfoldConfig config, @Nullable String tokenizerFingerprint, String split, Configuration configuration) {
        ReaderOptions options = ReaderSettings.of(config, tokenizerFingerprint);
        try {
            return Readers.open(localFolder(config.data().prepared(), split, options, configuration), split, options);
        } catch (IOException e) {
            throw new DataException(
                    "Cannot read prepared data at " + config.data().prepared() + ": " + FailureReason.of(e), e);
        }
    }

    /** The folder itself if its path is one of this machine, otherwise one with copies of the split's files. */
    static Path localFolder(String prepared, String split, ReaderOptions options, Configuration configuration)
            throws IOException {
        Folder folder = Folder.of(prepared, configuration);
        if ("file".equals(folder.path().toUri().getScheme())) {
            return Path.of(folder.path().toUri().getPath());
        }
        String key = HexFormat.of()
                .formatHex(DocumentHash.of(folder.path().toString().getBytes(StandardCharsets.UTF_8)), 0, 8);
        Path cache = Path.of(System.getProperty("java.io.tmpdir"), "fourfold-shards-" + key);
        for (String dataSet : dataSets(folder, options)) {
            copySplit(folder.child(dataSet).child(split), cache.resolve(dataSet).resolve(split));
        }
        return cache;
    }

    static List<String> dataSets(Folder folder, ReaderOptions options) throws IOException {
        if (!options.blend().isEmpty()) {
            return List.copyOf(new TreeSet<>(options.blend().keySet()));
        }
        return options.dataSets().isEmpty() ? folder.names() : options.dataSets();
    }

    private static void copySplit(Folder from, Path to) throws IOException {
        if (!from.exists(Manifest.FILE)) {
            // The reader says what is missing, with the name people know.
            throw new DataException("No prepared data at " + from.path()
                    + ": manifest.json is missing. Run 'fourfold prepare' with this configuration, or correct"
                    + " data.prepared.");
        }
        byte[] content = from.read(Manifest.FILE);
        Manifest manifest = ManifestFile.parse(content, from.path() + "/" + Manifest.FILE);
        synchronized (COPYING) {
            Files.createDirectories(to);
            for (ShardInfo shard : manifest.shards()) {
                if (!isCopy(to.resolve(shard.file()), shard)) {
                    try (InputStream in = from.open(shard.file())) {
                        replace(to.resolve(shard.file()), in);
                    }
                }
            }
            replace(to.resolve(Manifest.FILE), new java.io.ByteArrayInputStream(content));
        }
    }

    private static boolean isCopy(Path file, ShardInfo shard) {
        try {
            if (!Files.isRegularFile(file) || Files.size(file) != shard.bytes()) {
                return false;
            }
            try (InputStream in = Files.newInputStream(file)) {
                return Checksums.crc32c(in).equals(shard.crc32c());
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Another process may copy the same file at the same time: each writes its own and the last name wins. */
    private static void replace(Path target, InputStream content) throws IOException {
        Path partial = Files.createTempFile(target.toAbsolutePath().getParent(), ".partial-", "");
        try {
            Files.copy(content, partial, StandardCopyOption.REPLACE_EXISTING);
            Files.move(partial, target, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(partial);
        }
    }
}
