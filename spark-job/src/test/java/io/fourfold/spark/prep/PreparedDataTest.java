package io.fourfold.spark.prep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.data.BatchReader;
import io.fourfold.data.DataException;
import io.fourfold.data.ReaderOptions;
import io.fourfold.data.Readers;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.ShardBuilder;
import io.fourfold.data.shard.ShardInfo;
import io.fourfold.data.shard.TokenType;
import io.fourfold.data.shard.TokenizerInfo;
import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.commons.io.FileUtils;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PreparedDataTest {
    private static final ReaderOptions OPTIONS = ReaderOptions.of(16, 1);

    @TempDir
    Path folder;

    /** Local files under another scheme, as a remote file system would have them. */
    public static final class RemoteFileSystem extends RawLocalFileSystem {
        @Override
        public URI getUri() {
            return URI.create("remote:///");
        }

        @Override
        public String getScheme() {
            return "remote";
        }
    }

    private static Configuration configuration() {
        Configuration configuration = new Configuration();
        configuration.set("fs.remote.impl", RemoteFileSystem.class.getName());
        return configuration;
    }

    @Test
    void aLocalFolderIsUsedInPlace() throws IOException {
        writeSplit(0);
        assertThat(PreparedData.localFolder(folder.toString(), Manifest.TRAIN, OPTIONS, configuration()))
                .isEqualTo(folder);
    }

    @Test
    void shardsOfAnotherFileSystemAreCopiedOnceAndAgainWhenTheyChange() throws IOException {
        writeSplit(0);
        String remote = "remote://" + folder;
        Path first = PreparedData.localFolder(remote, Manifest.TRAIN, OPTIONS, configuration());
        assertThat(first).isNotEqualTo(folder);
        assertThat(tokens(first)).isEqualTo(tokens(folder));
        Path copy = first.resolve("set/train/00000-000.arrow");
        Object copied = Files.readAttributes(copy, "*").get("fileKey");
        PreparedData.localFolder(remote, Manifest.TRAIN, OPTIONS, configuration());
        assertThat(Files.readAttributes(copy, "*").get("fileKey")).isEqualTo(copied);

        writeSplit(7);
        PreparedData.localFolder(remote, Manifest.TRAIN, OPTIONS, configuration());
        assertThat(tokens(first)).isEqualTo(tokens(folder));
        FileUtils.deleteDirectory(first.toFile());
    }

    @Test
    void missingRemoteDataIsNamed() throws IOException {
        Files.createDirectories(folder.resolve("set/train"));
        assertThatThrownBy(
                        () -> PreparedData.localFolder("remote://" + folder, Manifest.TRAIN, OPTIONS, configuration()))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("remote:" + folder.resolve("set/train"))
                .hasMessageContaining("fourfold prepare");
    }

    private static int[] tokens(Path prepared) {
        try (BatchReader reader = Readers.open(prepared, Manifest.TRAIN, OPTIONS)) {
            return reader.read(0, 4, 0).tokens();
        }
    }

    private void writeSplit(int shift) throws IOException {
        Path split = Files.createDirectories(folder.resolve("set/train"));
        ShardBuilder builder = new ShardBuilder(TokenType.UINT16);
        builder.add(IntStream.range(shift, shift + 200).toArray());
        ShardInfo shard;
        try (OutputStream out = Files.newOutputStream(split.resolve("00000-000.arrow"))) {
            shard = builder.write("00000-000.arrow", out);
        }
        Manifest manifest = new Manifest(
                Manifest.FORMAT,
                Manifest.VERSION,
                "set",
                Manifest.TRAIN,
                "plan",
                new TokenizerInfo("bytes", "f", 257, 256),
                TokenType.UINT16,
                1,
                200,
                200,
                0,
                Map.of(),
                List.of(shard));
        Files.write(split.resolve(Manifest.FILE), ManifestFile.toBytes(manifest));
    }
}
