package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.StorageInput;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.apache.hadoop.conf.Configuration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Both implementations keep the same contract. */
class HadoopRunStorageTest {
    @TempDir
    Path folder;

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void keepsTheContract(boolean hadoop) throws IOException {
        RunStorage storage = hadoop
                ? new HadoopRunStorage(folder.resolve("run").toUri().toString(), new Configuration())
                : new LocalRunStorage(folder.resolve("run"));
        assertThat(storage.list("checkpoints")).isEmpty();
        assertThat(storage.exists("a/b.txt")).isFalse();
        storage.writeText("a/b.txt", "hello");
        storage.writeText("a/c.txt", "x");
        assertThat(storage.list("a")).contains("b.txt", "c.txt");
        assertThat(new String(storage.readAll("a/b.txt"), StandardCharsets.UTF_8))
                .isEqualTo("hello");
        try (StorageInput input = storage.open("a/b.txt")) {
            byte[] part = new byte[4];
            input.readFully(2, part, 1, 3);
            assertThat(new String(part, 1, 3, StandardCharsets.UTF_8)).isEqualTo("llo");
            assertThat(input.length()).isEqualTo(5);
            assertThatThrownBy(() -> input.readFully(3, part, 0, 4)).isInstanceOf(IOException.class);
        }
        storage.rename("a", "z");
        assertThat(storage.exists("a/b.txt")).isFalse();
        assertThat(storage.exists("z/b.txt")).isTrue();
        storage.delete("z");
        storage.delete("z");
        assertThat(storage.exists("z")).isFalse();
        assertThatThrownBy(() -> storage.open("none")).isInstanceOf(IOException.class);
    }

    @Test
    void findsTheFolderThatTheSettingNames() throws IOException {
        assertThat(RunFolders.localPath("runs/a")).contains(Path.of("runs/a"));
        assertThat(RunFolders.localPath("file:/tmp/a")).contains(Path.of("/tmp/a"));
        assertThat(RunFolders.localPath("file:///tmp/a")).contains(Path.of("/tmp/a"));
        assertThat(RunFolders.localPath("hdfs://name/a")).isEmpty();
        assertThat(RunFolders.localPath("s3a://bucket/a")).isEmpty();
        assertThat(RunFolders.open("runs/a", new Configuration())).isInstanceOf(LocalRunStorage.class);
    }
}
