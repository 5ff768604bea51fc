package io.fourfold.plan;

import io.fourfold.config.DataConfig;
import io.fourfold.data.DataException;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import java.util.stream.Stream;

/** How much training data the manifests of prepared data announce. */
public final class PreparedTokens {
    private PreparedTokens() {}

    /** Training tokens of the data sets in use; empty before preparation, or when they are not on a local path. */
    public static OptionalLong of(DataConfig data) {
        Path folder;
        try {
            folder = Path.of(data.prepared());
        } catch (InvalidPathException e) {
            return OptionalLong.empty();
        }
        if (!Files.isDirectory(folder)) {
            return OptionalLong.empty();
        }
        try (Stream<Path> children = Files.list(folder)) {
            List<Path> splits = children.filter(c -> used(data, String.valueOf(c.getFileName())))
                    .map(c -> c.resolve(Manifest.TRAIN))
                    .filter(c -> Files.isRegularFile(c.resolve(Manifest.FILE)))
                    .toList();
            return splits.isEmpty()
                    ? OptionalLong.empty()
                    : OptionalLong.of(splits.stream()
                            .mapToLong(split -> ManifestFile.read(split).tokens())
                            .sum());
        } catch (IOException | DataException e) {
            // A plan does not need data; the reader reports damaged data where it matters.
            return OptionalLong.empty();
        }
    }

    private static boolean used(DataConfig data, String name) {
        if (!data.blend().isEmpty()) {
            return data.blend().containsKey(name);
        }
        return data.sources().isEmpty() || data.sources().containsKey(name);
    }
}
