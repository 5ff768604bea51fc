package io.fourfold.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointStoreTest {
    private static final int ROWS = 6;
    private static final int COLUMNS = 4;

    private final CpuBackend backend = new CpuBackend(1);

    @TempDir
    Path folder;

    private LimitedStorage storage;
    private CheckpointStore store;

    @BeforeEach
    void open() {
        storage = new LimitedStorage(new LocalRunStorage(folder));
        store = new CheckpointStore(storage);
    }

    @Test
    void givesBackWhatWasSavedInAnyBox() {
        save(3, 100);
        try (Checkpoint checkpoint = store.openNewest()) {
            assertThat(checkpoint.identity().step()).isEqualTo(3);
            assertThat(checkpoint.names()).containsExactly("bias", "w");
            assertThat(checkpoint.shape("w")).containsExactly(ROWS, COLUMNS);
            assertThat(checkpoint.readWhole("w")).containsExactly(values(100, ROWS * COLUMNS));
            assertThat(checkpoint.read("w", new long[] {1, 1}, new long[] {2, 2}))
                    .containsExactly(105, 106, 109, 110);
            assertThat(checkpoint.read(Quantity.MOMENT2, "w", new Box(new long[] {5, 3}, new long[] {1, 1})))
                    .containsExactly(1000 + 23);
            assertThat(checkpoint.readWhole("bias")).containsExactly(7, 8);
            assertThat(checkpoint.hasOptimizer()).isTrue();
        }
    }

    @Test
    void keepsTheNewest() {
        for (int step = 1; step <= 5; step++) {
            save(step, step);
        }
        assertThat(store.steps()).containsExactly(4, 5);
        assertThat(folder.resolve("checkpoints")).isDirectoryNotContaining("glob:**.tmp");
    }

    @Test
    void aSaveOfTheSameStepReplaces() {
        save(1, 10);
        save(1, 20);
        try (Checkpoint checkpoint = store.openNewest()) {
            assertThat(checkpoint.read("w", new long[2], new long[] {1, 1})).containsExactly(20);
        }
        assertThat(folder.resolve("checkpoints")).isDirectoryNotContaining("glob:**.tmp");
    }

    @Test
    void aFullDiskLosesNothing() {
        save(1, 10);
        int failures = 0;
        for (long free = 0; ; free += 20) {
            storage.setFreeBytes(free);
            SaveOutcome outcome = trySave(2, 20);
            if (outcome.saved()) {
                break;
            }
            failures++;
            assertThat(outcome.problem()).contains("No space left on device").contains("rank 0");
            assertThat(folder.resolve("checkpoints").toFile().list()).containsExactly("step-00000001");
        }
        assertThat(failures).isGreaterThan(50);
        assertThat(store.steps()).containsExactly(1, 2);
    }

    @Test
    void aFailedReplacementLeavesTheOldOne() {
        save(1, 10);
        for (long free = 0; ; free += 20) {
            storage.setFreeBytes(free);
            boolean saved = trySave(1, 20).saved();
            try (Checkpoint checkpoint = store.openNewest()) {
                assertThat(checkpoint.read("w", new long[2], new long[] {1, 1})).containsExactly(saved ? 20 : 10);
            }
            if (saved) {
                break;
            }
        }
    }

    @Test
    void namesATruncatedFile() throws IOException {
        Path data = file(save(1, 10), "rank-00000.", ".bin");
        try (RandomAccessFile file = new RandomAccessFile(data.toFile(), "rw")) {
            file.setLength(50);
        }
        assertThatThrownBy(() -> store.open(1))
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("rank-00000.")
                .hasMessageContaining("50 bytes")
                .hasMessageContaining("delete its folder");
    }

    @Test
    void namesACorruptFile() throws IOException {
        Path data = file(save(1, 10), "rank-00000.", ".bin");
        try (RandomAccessFile file = new RandomAccessFile(data.toFile(), "rw")) {
            file.seek(33);
            file.write(file.read() ^ 1);
        }
        assertThatThrownBy(() -> store.openNewest())
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("rank-00000.")
                .hasMessageContaining("SHA-256");
        assertThat(store.summaries(true).get(0).problem()).contains("SHA-256");
    }

    @Test
    void namesAMissingFileAndAChangedIndex() throws IOException {
        Path one = save(1, 10);
        Files.delete(file(one, "rank-00000.", ".bin"));
        assertThatThrownBy(() -> store.open(1))
                .hasMessageContaining("rank-00000.")
                .hasMessageContaining("missing");
        Path two = save(2, 10);
        Files.writeString(file(two, "rank-00000.", ".json"), "{}");
        assertThatThrownBy(() -> store.open(2)).hasMessageContaining("rank-00000.");
        Files.writeString(file(two, "manifest.", ".json"), "{}");
        assertThatThrownBy(() -> store.open(2)).hasMessageContaining("manifest.");
    }

    @Test
    void aFolderWithoutItsMarkerDoesNotCount() throws IOException {
        Path one = save(1, 10);
        Files.delete(one.resolve("COMMIT"));
        assertThat(store.steps()).isEmpty();
        assertThatThrownBy(() -> store.openNewest())
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("no complete checkpoint");
    }

    @Test
    void summarizes() {
        save(9, 1);
        CheckpointSummary summary = store.summaries(true).get(0);
        assertThat(summary.step()).isEqualTo(9);
        assertThat(summary.parameters()).isEqualTo(ROWS * COLUMNS);
        assertThat(summary.optimizer()).isTrue();
        assertThat(summary.problem()).isNull();
        assertThat(Objects.requireNonNull(summary.identity()).samples()).isEqualTo(90);
    }

    @Test
    void aColumnSliceTakesFewRequests() {
        int rows = 300;
        int columns = 64;
        ObjectStore objects = new ObjectStore();
        CheckpointStore remote = new CheckpointStore(objects);
        remote.save(
                identity(1),
                List.of(new TensorSection(
                        Quantity.WEIGHT,
                        ShardLayout.whole("w", new long[] {rows, columns}),
                        tensor(0, rows * columns))),
                backend,
                Agreement.alone(),
                Retention.last(1));
        try (Checkpoint checkpoint = remote.open(1)) {
            int before = objects.reads();
            float[] slice = checkpoint.read("w", new long[] {0, 8}, new long[] {rows, 4});
            assertThat(objects.reads() - before).isEqualTo(1);
            assertThat(slice).hasSize(rows * 4);
            assertThat(slice[4 * 17 + 3]).isEqualTo(17 * columns + 8 + 3);
        }
    }

    @Test
    void partsWithAHoleAreNotCommitted() {
        PieceRange part = new PieceRange("w", new long[] {0, 0}, new long[] {ROWS, COLUMNS}, 0, ROWS * COLUMNS - 1);
        ShardLayout holed =
                new ShardLayout(Map.of("w", new long[] {ROWS, COLUMNS}), List.of(new ShardLayout.Run(part, 0)));
        SaveOutcome outcome = store.save(
                identity(1),
                List.of(new TensorSection(Quantity.WEIGHT, holed, tensor(0, ROWS * COLUMNS))),
                backend,
                Agreement.alone(),
                Retention.last(1));
        assertThat(outcome.saved()).isFalse();
        assertThat(outcome.problem()).contains("every element of w");
        assertThat(store.steps()).isEmpty();
    }

    private static Path file(Path folder, String start, String end) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(f -> f.getFileName().toString().startsWith(start))
                    .filter(f -> f.toString().endsWith(end))
                    .findFirst()
                    .orElseThrow();
        }
    }

    private Path save(int step, float first) {
        SaveOutcome outcome = trySave(step, first);
        assertThat(outcome.problem()).isNull();
        return Path.of(Objects.requireNonNull(outcome.location()));
    }

    private SaveOutcome trySave(int step, float first) {
        ShardLayout layout = ShardLayout.whole("w", new long[] {ROWS, COLUMNS});
        List<TensorSection> sections = List.of(
                new TensorSection(Quantity.WEIGHT, layout, tensor(first, ROWS * COLUMNS)),
                new TensorSection(Quantity.MOMENT1, layout, tensor(500, ROWS * COLUMNS)),
                new TensorSection(Quantity.MOMENT2, layout, tensor(1000, ROWS * COLUMNS)),
                new TensorSection(Quantity.STATE, ShardLayout.whole("bias", new long[] {2}), tensor(7, 2)));
        return store.save(identity(step), sections, backend, Agreement.alone(), Retention.last(2));
    }

    private static CheckpointManifest.Identity identity(int step) {
        return new CheckpointManifest.Identity(
                step,
                step * 10L,
                step * 160L,
                1,
                "hash",
                "model",
                "tokenizer",
                Map.of("world", 1),
                JsonNodeFactory.instance.objectNode(),
                "test",
                "2026-01-01T00:00:00Z");
    }

    private static CpuTensor tensor(float first, int count) {
        return CpuTensor.ofFloats(DType.FP32, values(first, count), Shape.of(count));
    }

    private static float[] values(float first, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = first + i;
        }
        return values;
    }
}
