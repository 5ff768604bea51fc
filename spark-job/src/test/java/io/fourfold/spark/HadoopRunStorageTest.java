package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import io.fourfold.checkpoint.Agreement;
import io.fourfold.checkpoint.Checkpoint;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.Quantity;
import io.fourfold.checkpoint.Retention;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.SaveOutcome;
import io.fourfold.checkpoint.ShardLayout;
import io.fourfold.checkpoint.StorageInput;
import io.fourfold.checkpoint.TensorSection;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
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

    /** The checksummed local file system and the raw one beneath it. */
    @ParameterizedTest
    @ValueSource(strings = {"org.apache.hadoop.fs.LocalFileSystem", "org.apache.hadoop.fs.RawLocalFileSystem"})
    void holdsCheckpoints(String fileSystem) throws IOException {
        Configuration hadoop = new Configuration();
        hadoop.set("fs.file.impl", fileSystem);
        hadoop.setBoolean("fs.file.impl.disable.cache", true);
        RunStorage storage = new HadoopRunStorage(folder.toUri().toString(), hadoop);
        CheckpointStore store = new CheckpointStore(storage);
        try (CpuBackend backend = new CpuBackend(1)) {
            for (int step : new int[] {1, 2, 3, 3}) {
                float[] values = {step, 2, 3};
                TensorSection section = new TensorSection(
                        Quantity.WEIGHT,
                        ShardLayout.whole("w", new long[] {3}),
                        CpuTensor.ofFloats(DType.FP32, values, Shape.of(3)));
                SaveOutcome outcome =
                        store.save(identity(step), List.of(section), backend, Agreement.alone(), Retention.last(2));
                assertThat(outcome.problem()).isNull();
            }
        }
        assertThat(store.steps()).containsExactly(2, 3);
        try (Checkpoint checkpoint = store.openNewest()) {
            assertThat(checkpoint.readWhole("w")).containsExactly(3, 2, 3);
        }
    }

    private static CheckpointManifest.Identity identity(int step) {
        return new CheckpointManifest.Identity(
                step, 1, 1, 1, "", "", "", Map.of(), JsonNodeFactory.instance.objectNode(), "test", "now");
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
