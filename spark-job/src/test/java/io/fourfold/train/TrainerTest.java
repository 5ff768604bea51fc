package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.LimitedStorage;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.StepMetrics;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TrainerTest {
    private static final double FP32_NOISE = 2e-5;

    @TempDir
    Path folder;

    @Test
    void learnsAndReports() {
        TinyRun run = new TinyRun(folder).set("train.steps", 40).set("train.eval_every", 20);
        TrainResult result = run.train().get(0);
        assertThat(run.losses()).hasSize(40);
        assertThat(run.losses().get(39)).isLessThan(0.8 * run.losses().get(0));
        assertThat(result.lastStep()).isEqualTo(40);
        assertThat(result.samples()).isEqualTo(160);
        assertThat(result.tokens()).isEqualTo(160 * TinyRun.SEQUENCE);
        assertThat(result.loss()).isEqualTo(run.losses().get(39));
        assertThat(run.sink().evaluations()).extracting(e -> e.step()).containsExactly(20, 40);
        assertThat(result.validationLoss())
                .isEqualTo(run.sink().evaluations().get(1).loss());
        assertThat(result.checkpoint()).endsWith("step-00000040");
        StepMetrics last = run.sink().steps().get(39);
        assertThat(last.expertLoad()).singleElement().satisfies(load -> {
            assertThat(load.layer()).isEqualTo(1);
            assertThat(load.tokens()).hasSize(4);
            assertThat(java.util.Arrays.stream(load.tokens()).sum()).isEqualTo(4 * TinyRun.SEQUENCE * 2);
        });
        assertThat(last.auxLoss()).isPositive();
        assertThat(last.phases()).containsOnlyKeys("data", "forward_backward", "gradients", "optimizer");
        assertThat(run.sink().facts()).containsKeys("model", "recipe", "ranks", "parameters", "tokens");
        assertThat(run.events(EventKind.FINISHED)).hasSize(1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"fp32", "bf16", "nvfp4"})
    void theSameRunGivesTheSameBits(String recipe) {
        List<Double> first = losses(folder.resolve("a"), recipe, 2, 2);
        List<Double> second = losses(folder.resolve("b"), recipe, 2, 2);
        assertThat(second).isEqualTo(first);
    }

    @ParameterizedTest
    @ValueSource(strings = {"fp32", "nvfp4"})
    void resumesBitIdenticallyAtEveryStep(String recipe) throws IOException {
        TinyRun whole = new TinyRun(folder.resolve("whole")).set("recipe.kind", recipe);
        whole.train();
        for (int step = 1; step < 6; step++) {
            Path copy = copyOf("whole", "from-" + step, step);
            TinyRun rest = new TinyRun(copy).set("recipe.kind", recipe);
            TrainResult result = rest.train().get(0);
            assertThat(result.firstStep()).isEqualTo(step);
            assertThat(rest.losses())
                    .as("after step %d", step)
                    .isEqualTo(whole.losses().subList(step, 6));
            assertThat(rest.gradientNorms()).isEqualTo(whole.gradientNorms().subList(step, 6));
            assertThat(rest.sink().evaluations().get(0).loss())
                    .isEqualTo(whole.sink().evaluations().get(0).loss());
        }
    }

    @Test
    void everyMappingTrainsAlike() {
        List<Double> alone = losses(folder.resolve("1"), "fp32", 1, 1);
        for (int[] mapping : new int[][] {{2, 1}, {2, 2}, {4, 1}, {4, 2}, {4, 4}}) {
            List<Double> losses = losses(
                    folder.resolve("dp%dep%d".formatted(mapping[0], mapping[1])), "fp32", mapping[0], mapping[1]);
            assertClose(losses, alone);
        }
    }

    @Test
    void tensorAndContextParallelRanksTrainAndValidateAlike() throws IOException {
        TinyRun alone = new TinyRun(folder.resolve("1")).set("model.attention.kv_heads", 2);
        double validation = alone.train().get(0).validationLoss();
        for (int[] mapping : new int[][] {{2, 2, 1}, {2, 1, 2}, {4, 2, 2}, {8, 2, 2}}) {
            TinyRun run = new TinyRun(folder.resolve("w%dtp%dcp%d".formatted(mapping[0], mapping[1], mapping[2])))
                    .set("model.attention.kv_heads", 2)
                    .set("parallel.world_size", mapping[0])
                    .set("parallel.tensor_parallel_size", mapping[1])
                    .set("parallel.context_parallel_size", mapping[2])
                    .set("parallel.expert_parallel_size", 2);
            List<TrainResult> results = run.train();
            assertClose(run.losses(), alone.losses());
            assertClose(run.gradientNorms(), alone.gradientNorms());
            assertThat(results)
                    .allSatisfy(
                            result -> assertThat(result.validationLoss()).isCloseTo(validation, within(FP32_NOISE)));
        }
        // On from a checkpoint of eight ranks on one.
        TinyRun one = new TinyRun(copyOf("w8tp2cp2", "one", 3)).set("model.attention.kv_heads", 2);
        assertThat(one.train().get(0).firstStep()).isEqualTo(3);
        assertClose(one.losses(), alone.losses().subList(3, 6));
    }

    @Test
    void resumesAtOtherDegrees() throws IOException {
        TinyRun whole = new TinyRun(folder.resolve("whole"));
        whole.train();
        TinyRun first = new TinyRun(folder.resolve("dp2ep2"))
                .set("parallel.world_size", 2)
                .set("parallel.expert_parallel_size", 2);
        first.train();
        TinyRun alone = new TinyRun(copyOf("dp2ep2", "alone", 2));
        assertThat(alone.train().get(0).firstStep()).isEqualTo(2);
        assertClose(alone.losses(), whole.losses().subList(2, 6));
        TinyRun last = new TinyRun(copyOf("alone", "dp2", 4)).set("parallel.world_size", 2);
        assertThat(last.train().get(0).firstStep()).isEqualTo(4);
        assertClose(last.losses(), whole.losses().subList(4, 6));
        TinyRun wide = new TinyRun(copyOf("dp2", "dp4ep2", 5))
                .set("parallel.world_size", 4)
                .set("parallel.expert_parallel_size", 2);
        assertThat(wide.train().get(0).firstStep()).isEqualTo(5);
        assertClose(wide.losses(), whole.losses().subList(5, 6));
    }

    @Test
    void aFinishedRunStaysFinished() {
        TinyRun run = new TinyRun(folder);
        double validation = run.train().get(0).validationLoss();
        TrainResult again = run.train().get(0);
        assertThat(again.firstStep()).isEqualTo(6);
        assertThat(again.lastStep()).isEqualTo(6);
        assertThat(again.loss()).isNaN();
        assertThat(again.validationLoss()).isEqualTo(validation);
        assertThat(run.sink().steps()).isEmpty();
    }

    @Test
    void aStopFileSavesAndEndsAndTheNextRunGoesOn() throws IOException {
        TinyRun whole = new TinyRun(folder.resolve("whole"));
        whole.train();
        Path stopped = folder.resolve("stopped");
        Files.createDirectories(stopped);
        Files.createFile(stopped.resolve("STOP"));
        TinyRun run = new TinyRun(stopped).set("run.checkpoint.every", 0);
        TrainResult result = run.train().get(0);
        assertThat(result.stopped()).isTrue();
        assertThat(result.lastStep()).isEqualTo(1);
        assertThat(result.checkpoint()).endsWith("step-00000001");
        assertThat(stopped.resolve("STOP")).doesNotExist();
        TrainResult rest = run.train().get(0);
        assertThat(rest.stopped()).isFalse();
        assertThat(run.events("stop")).isEmpty();
        assertThat(run.losses()).isEqualTo(whole.losses().subList(1, 6));
    }

    @Test
    void aFailedSaveDoesNotEndTheRun() {
        LimitedStorage disk = new LimitedStorage(new LocalRunStorage(folder));
        disk.setFreeBytes(100_000);
        TinyRun run = new TinyRun(folder).storage(disk).set("parallel.world_size", 2);
        TrainResult result = run.train().get(0);
        assertThat(result.lastStep()).isEqualTo(6);
        assertThat(run.losses()).hasSize(6);
        assertThat(run.events(EventKind.CHECKPOINT_FAILED))
                .isNotEmpty()
                .allSatisfy(message ->
                        assertThat(message).contains("No space left on device").contains("training goes on"));
        assertThat(run.events(EventKind.CHECKPOINT)).isNotEmpty();
        assertThat(folder.resolve("checkpoints")).isDirectoryNotContaining("glob:**.tmp");
        try (var kept = new CheckpointStore(disk).openNewest()) {
            assertThat(kept.location()).isEqualTo(result.checkpoint());
        }
    }

    @Test
    void aCorruptCheckpointIsSkippedAndSaidSo() throws IOException {
        TinyRun whole = new TinyRun(folder.resolve("whole"));
        whole.train();
        Path copy = copyOf("whole", "copy", 4);
        flipByte(copy.resolve("checkpoints/step-00000004"));
        TinyRun run = new TinyRun(copy).set("parallel.world_size", 2);
        TrainResult result = run.train().get(0);
        assertThat(result.firstStep()).isEqualTo(3);
        assertThat(run.events(EventKind.WARNING))
                .singleElement()
                .satisfies(
                        message -> assertThat(message).contains("step-00000004").contains("SHA-256"));
        assertClose(run.losses(), whole.losses().subList(3, 6));
    }

    @Test
    void withOnlyCorruptCheckpointsNothingIsOverwritten() throws IOException {
        new TinyRun(folder.resolve("whole")).train();
        Path copy = copyOf("whole", "copy", 1);
        flipByte(copy.resolve("checkpoints/step-00000001"));
        assertThatThrownBy(() -> new TinyRun(copy).train())
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("no checkpoint in")
                .hasMessageContaining("step 1");
        assertThat(copy.resolve("checkpoints/step-00000001/COMMIT")).exists();
    }

    @Test
    void anotherModelsCheckpointIsRefusedWithTheDifference() {
        new TinyRun(folder).train();
        assertThatThrownBy(() -> new TinyRun(folder).set("model.moe.top_k", 1).train())
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("another model")
                .hasMessageContaining("moe.topK: 1 | 2")
                .hasMessageContaining("run.dir");
        assertThatThrownBy(() -> new TinyRun(folder).set("train.seed", 9).train())
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("seed");
        assertThatThrownBy(() ->
                        new TinyRun(folder).set("run.checkpoint.resume", false).train())
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("run.checkpoint.resume");
    }

    private List<Double> losses(Path where, String recipe, int ranks, int experts) {
        TinyRun run = new TinyRun(where)
                .set("recipe.kind", recipe)
                .set("parallel.world_size", ranks)
                .set("parallel.expert_parallel_size", experts)
                .set("run.checkpoint.every", 0);
        run.train();
        assertThat(run.losses()).hasSize(6).allSatisfy(loss -> assertThat(loss).isFinite());
        return run.losses();
    }

    private static void assertClose(List<Double> losses, List<Double> expected) {
        assertThat(losses).hasSameSizeAs(expected);
        for (int i = 0; i < losses.size(); i++) {
            assertThat(losses.get(i))
                    .as("step %d of %s, expected %s", i, losses, expected)
                    .isCloseTo(expected.get(i), within(FP32_NOISE));
        }
    }

    /** A run folder with the checkpoints of another up to a step. */
    private Path copyOf(String from, String to, int lastStep) throws IOException {
        Path source = folder.resolve(from).resolve("checkpoints");
        Path target = folder.resolve(to).resolve("checkpoints");
        Files.createDirectories(target);
        try (Stream<Path> files = Files.walk(source)) {
            for (Path file : files.sorted().toList()) {
                Path relative = source.relativize(file);
                if (!relative.toString().isEmpty()
                        && Integer.parseInt(relative.getName(0).toString().substring("step-".length())) <= lastStep) {
                    Files.copy(file, target.resolve(relative));
                }
            }
        }
        return folder.resolve(to);
    }

    /** Damages the data file of rank 0. */
    private static void flipByte(Path checkpoint) throws IOException {
        Path file;
        try (Stream<Path> files = Files.list(checkpoint)) {
            file = files.filter(f -> f.getFileName().toString().matches("rank-00000\\..*\\.bin"))
                    .findFirst()
                    .orElseThrow();
        }
        try (RandomAccessFile data = new RandomAccessFile(file.toFile(), "rw")) {
            data.seek(100);
            int value = data.read();
            data.seek(100);
            data.write(value ^ 1);
        }
    }
}
