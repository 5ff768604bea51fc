package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.DataException;
import io.fourfold.spark.PreflightReport.Finding;
import io.fourfold.spark.PreflightReport.Kind;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaFutureAction;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PreflightTest {
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
    void allProblemsAreNamedAtOnce() {
        PreflightReport report = Preflight.run(config(Map.of("parallel.world_size", "4")), spark);
        assertThat(report.slots()).isEqualTo(2);
        assertThat(report.executors()).hasSize(1);
        assertThat(report.errors()).extracting(Finding::kind).containsExactly(Kind.LAUNCH, Kind.DATA);
        assertThat(report.errors().get(0)).asString().contains("can run 2 tasks at once", "--master local[4]");
        assertThat(report.errors().get(1)).asString().contains("executor driver on ", "fourfold prepare");
        assertThatThrownBy(report::throwIfBlocked)
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("TRAIN_LAUNCH: 2 problems before the start");
        assertThat(folder.resolve("run")).isEmptyDirectory();
    }

    @Test
    void missingDataAloneIsADataError() {
        assertThatThrownBy(() -> Preflight.run(config(Map.of()), spark).throwIfBlocked())
                .isInstanceOf(DataException.class)
                .hasMessageContaining("data.prepared");
    }

    @Test
    void aFolderThatIsAFileCannotHoldTheRun() throws Exception {
        Files.writeString(folder.resolve("run"), "");
        assertThat(Preflight.run(config(Map.of()), spark).errors())
                .anySatisfy(finding ->
                        assertThat(finding).asString().contains("driver: cannot write into the run folder", "run.dir"));
    }

    @Test
    void whoHoldsTheSlotsIsNamed() throws Exception {
        JavaSparkContext context = JavaSparkContext.fromSparkContext(spark.sparkContext());
        JavaFutureAction<List<Integer>> other = context.parallelize(List.of(1), 1)
                .map(value -> {
                    Thread.sleep(30_000);
                    return value;
                })
                .collectAsync();
        try {
            while (IntStream.of(spark.sparkContext().statusTracker().getActiveStageIds())
                    .mapToObj(stage -> spark.sparkContext()
                            .statusTracker()
                            .getStageInfo(stage)
                            .get())
                    .noneMatch(stage -> stage.numActiveTasks() > 0)) {
                Thread.sleep(20);
            }
            PreflightReport report = Preflight.run(config(Map.of()), spark);
            assertThat(report.busy()).isEqualTo(1);
            assertThat(report.errors().get(0))
                    .asString()
                    .contains(
                            "of 2 slots other jobs of this application hold 1: stage ",
                            "collectAsync at PreflightTest");
        } finally {
            other.cancel(true);
        }
    }

    @Test
    void settingsThatGangsCannotRunWith() {
        SparkConf conf = new SparkConf(false)
                .set("spark.master", "spark://host:7077")
                .set("spark.dynamicAllocation.enabled", "true")
                .set("spark.speculation", "true");
        List<Finding> found = SettingsCheck.of(config(Map.of("run.backend", "cuda", "parallel.world_size", "1")), conf);
        assertThat(found)
                .extracting(Finding::kind)
                .containsExactly(Kind.LAUNCH, Kind.LAUNCH, Kind.WARNING, Kind.WARNING);
        assertThat(found.get(0).problem()).contains("dynamic allocation is on");
        assertThat(found.get(1).problem()).contains("spark.executor.resource.gpu.amount is not set");
        assertThat(found.get(3).problem()).contains("task.reaper");
    }

    @Test
    void thisJvmWasStartedAsItMustBe() {
        assertThat(SettingsCheck.ofThisJvm("driver", "options")).isEmpty();
    }

    private FourfoldConfig config(Map<String, String> more) {
        Map<String, String> settings = new TreeMap<>(more);
        settings.putIfAbsent("parallel.world_size", "2");
        settings.putIfAbsent("run.backend", "cpu");
        settings.put("run.dir", folder.resolve("run").toString());
        settings.put("data.prepared", folder.resolve("prepared").toString());
        return TinyRun.tinyConfig(settings);
    }
}
