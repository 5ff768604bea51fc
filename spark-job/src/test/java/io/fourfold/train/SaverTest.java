package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.checkpoint.Checkpoint;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.HookedStorage;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.ObjectStore;
import io.fourfold.checkpoint.Quantity;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.data.Batch;
import io.fourfold.metrics.EventKind;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SaverTest {
    private static final int SAMPLES_PER_STEP = 4;

    @TempDir
    Path folder;

    @Test
    void trainingGoesOnWhileFilesAreWritten() {
        CountDownLatch fourthStep = new CountDownLatch(1);
        RunStorage slow = new HookedStorage(new LocalRunStorage(folder), path -> {
            if (path.contains("step-00000002") && !waited(fourthStep)) {
                throw new IOException("training waited for the files");
            }
        });
        TinyRun run = new TinyRun(folder)
                .storage(slow)
                .set("run.checkpoint.every", 2)
                .set("parallel.world_size", 2)
                .readers(rank -> new SyntheticReader(TinyRun.SEQUENCE, TinyRun.VOCABULARY, 5) {
                    @Override
                    public Batch read(long first, int count, int rowIdBase) {
                        if (first >= 3 * SAMPLES_PER_STEP) {
                            fourthStep.countDown();
                        }
                        return super.read(first, count, rowIdBase);
                    }
                });
        TrainResult result = run.train().get(0);
        assertThat(run.events(EventKind.CHECKPOINT_FAILED)).isEmpty();
        assertThat(run.events(EventKind.CHECKPOINT)).hasSize(3);
        assertThat(new CheckpointStore(slow).steps()).containsExactly(2, 4, 6);
        assertThat(result.saved()).isTrue();
    }

    private static boolean waited(CountDownLatch latch) throws IOException {
        try {
            return latch.await(20, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
    }

    @Test
    void aRankThatCannotWriteCostsThatCheckpointOnly() {
        RunStorage failing = new HookedStorage(new LocalRunStorage(folder), path -> {
            if (path.contains("step-00000003/rank-00001")) {
                throw new IOException("permission denied");
            }
        });
        TinyRun run = new TinyRun(folder).storage(failing).set("parallel.world_size", 2);
        assertThat(run.train()).allSatisfy(result -> {
            assertThat(result.lastStep()).isEqualTo(6);
            assertThat(result.checkpointStep()).isEqualTo(6);
        });
        assertThat(run.events(EventKind.CHECKPOINT_FAILED))
                .singleElement()
                .satisfies(message -> assertThat(message).contains("rank 1").contains("permission denied"));
        assertThat(folder.resolve("checkpoints").toFile().list())
                .containsExactlyInAnyOrder(
                        "step-00000001", "step-00000002", "step-00000004", "step-00000005", "step-00000006");
    }

    @Test
    void aRunWhoseEndIsNotSavedSaysSo() {
        RunStorage failing = new HookedStorage(new LocalRunStorage(folder), path -> {
            if (path.endsWith("step-00000006/COMMIT")) {
                throw new IOException("No space left on device");
            }
        });
        TinyRun run = new TinyRun(folder).storage(failing).set("parallel.world_size", 2);
        assertThat(run.train()).allSatisfy(result -> {
            assertThat(result.saved()).isFalse();
            assertThat(result.checkpointStep()).isEqualTo(5);
            assertThat(result.checkpoint()).endsWith("step-00000005");
        });
        // Once when it was due, once more at the end.
        assertThat(run.events(EventKind.CHECKPOINT_FAILED)).hasSize(2);
        TinyRun again = new TinyRun(folder);
        assertThat(again.train().get(0).saved()).isTrue();
        assertThat(again.losses()).hasSize(1);
    }

    @Test
    void writingBehindTheTrainingSavesTheSameBits() {
        TinyRun behind = new TinyRun(folder.resolve("a"));
        TinyRun waiting = new TinyRun(folder.resolve("b")).set("run.checkpoint.async", false);
        behind.train();
        waiting.train();
        for (int step = 1; step <= 6; step++) {
            try (Checkpoint a = store("a").open(step);
                    Checkpoint b = store("b").open(step)) {
                assertThat(a.names()).isEqualTo(b.names());
                for (String name : a.names(Quantity.WEIGHT)) {
                    assertThat(a.readWhole(name))
                            .as("%s of step %d", name, step)
                            .isEqualTo(b.readWhole(name));
                }
            }
        }
    }

    private CheckpointStore store(String run) {
        return new CheckpointStore(new LocalRunStorage(folder.resolve(run)));
    }

    @Test
    void everySecondCheckpointStays() {
        TinyRun run = new TinyRun(folder)
                .set("train.steps", 5)
                .set("run.checkpoint.keep_last", 1)
                .set("run.checkpoint.keep_every", 2);
        run.train();
        assertThat(new CheckpointStore(new LocalRunStorage(folder)).steps()).containsExactly(2, 4, 5);
    }

    @Test
    void anObjectStoreWillDo() throws IOException {
        TinyRun whole = new TinyRun(folder);
        whole.train();
        ObjectStore storage = new ObjectStore();
        storage.writeText("checkpoints/step-00000003/rank-00000.dead-1.bin", "left by an attempt that was killed");
        new TinyRun(folder).storage(storage).set("parallel.world_size", 2).train();
        assertThat(storage.keys()).noneMatch(key -> key.contains("dead"));
        for (int step = 4; step <= 6; step++) {
            storage.delete("checkpoints/step-0000000" + step);
        }
        TinyRun rest = new TinyRun(folder).storage(storage);
        assertThat(rest.train().get(0).firstStep()).isEqualTo(3);
        List<Double> expected = whole.losses().subList(3, 6);
        for (int i = 0; i < expected.size(); i++) {
            assertThat(rest.losses().get(i)).isCloseTo(expected.get(i), within(2e-5));
        }
    }
}
