package io.fourfold.spark;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.data.DataException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Stream;

/** Opens a copy of prepared data in which the first training shard lost its second half. The data themselves stay whole. */
final class TruncatedData {
    private TruncatedData() {}

    /**
     * @param open opens the training split of a configuration
     * @throws DataException what the reader says of the shard
     */
    static BatchReader open(FourfoldConfig config, Function<FourfoldConfig, BatchReader> open) {
        try {
            Path copy = Files.createTempDirectory("fourfold-truncated-");
            try {
                Path prepared = RunFolders.localPath(config.data().prepared())
                        .orElseThrow(() ->
                                new DataException("truncated_shard needs data.prepared on a local or mounted disk, not "
                                        + config.data().prepared()));
                copy(prepared, copy);
                truncate(firstShard(copy));
                return open.apply(ConfigLoader.parse(
                                "truncated data", ResolvedConfig.of(config).yaml(), List.of("data.prepared=" + copy))
                        .config());
            } finally {
                delete(copy);
            }
        } catch (IOException e) {
            throw new UncheckedIOException("cannot make truncated data", e);
        }
    }

    private static void copy(Path from, Path to) throws IOException {
        try (Stream<Path> files = Files.walk(from)) {
            for (Path file : files.sorted().toList()) {
                Path target = to.resolve(from.relativize(file).toString());
                if (Files.isDirectory(file)) {
                    Files.createDirectories(target);
                } else {
                    Files.copy(file, target);
                }
            }
        }
    }

    private static Path firstShard(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            return files.filter(file -> file.toString().endsWith(".arrow"))
                    .filter(file -> Objects.requireNonNull(file.getParent()).endsWith("train"))
                    .sorted()
                    .findFirst()
                    .orElseThrow(() -> new DataException("no training shard to truncate in " + folder));
        }
    }

    private static void truncate(Path shard) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(shard.toFile(), "rw")) {
            file.setLength(file.length() / 2);
        }
    }

    private static void delete(Path folder) throws IOException {
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Files.delete(file);
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult postVisitDirectory(Path visited, IOException failure) throws IOException {
                Files.delete(visited);
                return FileVisitResult.CONTINUE;
            }
        });
    }
}
