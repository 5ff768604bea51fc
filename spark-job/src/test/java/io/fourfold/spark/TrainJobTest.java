package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.DataException;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainResult;
import io.fourfold.train.TrainingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrainJobTest {
    private static SparkSession spark;

    @TempDir
    Path folder;

    @BeforeAll
    static void start() {
        spark = SparkSessions.open("test", 2);
    }

    @AfterAll
    static void stop() {
        spark.stop();
    }

    @Test
    void trainsAsABarrierStageAndResumes() {
        TrainResult whole = train(config("whole", 2, Map.of()), -1);
        assertThat(whole.firstStep()).isZero();
        assertThat(whole.lastStep()).isEqualTo(6);
        assertThat(whole.checkpoint()).endsWith("step-00000006");
        Path run = folder.resolve("whole");
        assertThat(run.resolve("config.yaml")).content().contains("world_size: 2");
        assertThat(run.resolve("plan.json")).exists();
        assertThat(run.resolve("metrics.jsonl")).exists();

        // The same run in two goes, the second with experts on two ranks.
        assertThatThrownBy(() -> train(config("parts", 2, Map.of()), 3)).isInstanceOf(TrainingException.class);
        TrainResult rest = train(config("parts", 2, Map.of()), -1);
        assertThat(rest.firstStep()).isEqualTo(3);
        assertThat(rest.loss()).isEqualTo(whole.loss());
        assertThat(rest.validationLoss()).isEqualTo(whole.validationLoss());
    }

    @Test
    void theFirstCauseIsReported() {
        assertThatThrownBy(() -> train(config("failing", 2, Map.of()), 2))
                .isInstanceOfSatisfying(
                        TrainingException.class,
                        e -> assertThat(e.code()).isEqualTo(TrainingException.Code.TRAIN_RANK_FAILED))
                .hasMessageContaining("rank 1 on ")
                .hasMessageContaining("shard 7 is corrupt")
                .hasMessageContaining("rank 0 stopped as a consequence")
                .hasCauseInstanceOf(DataException.class);
    }

    @Test
    void aHungRankIsTheCauseAndAllRanksLeaveWhatTheyDidLast() throws Exception {
        FourfoldConfig config = config("hung", 2, Map.of("run.timeouts.step_seconds", "3"));
        long start = System.nanoTime();
        assertThatThrownBy(() -> TrainJob.run(config, spark, "tokenizer", new HangingSetup(60, false)))
                .isInstanceOf(TrainingException.class)
                .hasMessageStartingWith("TRAIN_RANK_FAILED: rank 1 on ")
                .hasMessageContaining("in no operation for 3.")
                .hasMessageContaining("run.timeouts.step_seconds");
        assertThat(System.nanoTime() - start).isLessThan(20_000_000_000L);
        try (var files = Files.walk(folder.resolve("hung/failures"))) {
            List<Path> dumps = files.filter(Files::isRegularFile).sorted().toList();
            assertThat(dumps)
                    .extracting(file -> file.getFileName().toString())
                    .containsExactly("rank-00000.txt", "rank-00001.txt");
            assertThat(dumps.get(0)).content().contains("not finished", "now in #");
            assertThat(dumps.get(1)).content().contains("waitForADiskThatIsGone", "now in no operation");
        }
    }

    @Test
    void aCancelledJobEndsItsRanks() throws Exception {
        FourfoldConfig config = config("cancelled", 2, Map.of("train.steps", "1000000", "run.log_every", "1000000"));
        ExecutorService driver = Executors.newSingleThreadExecutor();
        try {
            Future<TrainResult> run = driver.submit(() -> train(config, -1));
            Path firstCheckpoint = folder.resolve("cancelled/checkpoints/step-00000001/COMMIT");
            while (!Files.exists(firstCheckpoint) && !run.isDone()) {
                Thread.sleep(50);
            }
            spark.sparkContext().cancelAllJobs();
            assertThatThrownBy(() -> run.get(20, TimeUnit.SECONDS))
                    .isInstanceOf(ExecutionException.class)
                    .cause()
                    .isInstanceOf(TrainingException.class)
                    .hasMessageContaining("TRAIN_LAUNCH")
                    .hasMessageContaining("cancelled")
                    .hasMessageContaining("Run the same command to continue");
            // Its threads are gone, or this would not get their slots.
            assertThat(train(config("next", 2, Map.of()), -1).lastStep()).isEqualTo(6);
        } finally {
            driver.shutdownNow();
        }
    }

    @Test
    void tooFewSlotsAreSaidAtOnce() {
        long start = System.nanoTime();
        assertThatThrownBy(() -> train(config("wide", 4, Map.of()), -1))
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("world_size is 4")
                .hasMessageContaining("can run 2 tasks at once")
                .hasMessageContaining("local[4]");
        assertThat(System.nanoTime() - start).isLessThan(5_000_000_000L);
    }

    @Test
    void anUnwritableRunFolderIsSaidAtOnce() {
        assertThatThrownBy(() -> train(config("/dev/null/run", 2, Map.of()), -1))
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("cannot write into the run folder")
                .hasMessageContaining("run.dir");
    }

    @Test
    void aGangIsRestartedUntilTheEnd() {
        TrainResult whole = train(config("undisturbed", 2, Map.of()), -1);
        String faults = "[crash rank=1 step=3, truncated_shard rank=0 step=5, full_disk rank=1 step=4]";
        TrainResult result =
                train(config("disturbed", 2, Map.of("run.faults", faults, "run.restart.max_restarts", "5")), -1);
        assertThat(result.lastStep()).isEqualTo(6);
        // The checkpoint of step 4 could not be written.
        assertThat(result.firstStep()).isEqualTo(3);
        assertThat(result.loss()).isEqualTo(whole.loss());
        assertThat(result.validationLoss()).isEqualTo(whole.validationLoss());
        assertThat(folder.resolve("disturbed/metrics.jsonl"))
                .content()
                .contains("restart 1 of 5 in 0.1 s: ", "injected fault 'crash rank=1 step=3' at step 3")
                .contains("restart 2 of 5 in 0.1 s: ", "shard 3 ends after 512 of 1024 bytes")
                .contains("No space left on device (injected)");
    }

    @Test
    void sparkItselfCanRestartTheStage() {
        TrainResult whole = train(config("alone", 2, Map.of()), -1);
        TrainResult result =
                train(config("rerun", 2, Map.of("run.restart.by", "spark", "run.faults", "[crash rank=1 step=3]")), -1);
        assertThat(result.firstStep()).isEqualTo(2);
        assertThat(result.loss()).isEqualTo(whole.loss());
    }

    @Test
    @Tag("slow")
    void sparkGivesUpAfterItsAttempts() {
        assertThatThrownBy(() -> train(config("hopeless", 2, Map.of("run.restart.by", "spark")), 2))
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("spark.stage.maxConsecutiveAttempts")
                .hasMessageContaining("shard 7 is corrupt");
    }

    @Test
    void aLossThatIsNotFiniteIsTriedAgainOnlyWhenAskedTo() {
        String fault = "[non_finite rank=0 step=2]";
        assertThatThrownBy(() -> train(config("strict", 2, Map.of("run.faults", fault)), -1))
                .hasMessageStartingWith("TRAIN_NON_FINITE: gradient norm is NaN at step 2");
        Map<String, String> again =
                Map.of("run.faults", fault, "run.restart.on_non_finite", "restart", "run.restart.max_restarts", "5");
        assertThat(train(config("lenient", 2, again), -1).lastStep()).isEqualTo(6);
    }

    private FourfoldConfig config(String run, int ranks, Map<String, String> more) {
        Map<String, String> settings = new TreeMap<>(more);
        settings.put("parallel.world_size", Integer.toString(ranks));
        settings.put("run.dir", folder.resolve(run).toString());
        settings.put("run.backend", "cpu");
        settings.put("run.restart.backoff_seconds", "0.1");
        settings.putIfAbsent("run.restart.max_restarts", "0");
        // So that it is certain which checkpoints a failure finds.
        settings.put("run.checkpoint.async", "false");
        return TinyRun.tinyConfig(settings);
    }

    /**
     * @param failAfter steps after which rank 1 fails; -1 = it does not
     */
    private static TrainResult train(FourfoldConfig config, int failAfter) {
        return TrainJob.run(config, spark, "tokenizer", new SyntheticSetup(failAfter));
    }
}
