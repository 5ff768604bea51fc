package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.RankBeat;
import io.fourfold.metrics.RunHistory;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainResult;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A run as it is watched from outside: Spark's web UI, its metrics, the run folder. */
class WatchTest {
    private static SparkSession spark;
    private static String ui;
    private static String beforeAnyRun;

    @TempDir
    static Path folder;

    @BeforeAll
    static void start() throws Exception {
        System.setProperty("spark.ui.enabled", "true");
        System.setProperty("spark.ui.port", "0");
        try {
            spark = SparkSessions.open("watch", 2);
        } finally {
            System.clearProperty("spark.ui.enabled");
            System.clearProperty("spark.ui.port");
        }
        ui = "http://127.0.0.1:" + spark.sparkContext().ui().get().boundPort();
        beforeAnyRun = get("/fourfold-live/content");
    }

    @AfterAll
    static void stop() {
        spark.stop();
    }

    @Test
    void theTabThePrometheusPageAndTheRunFolderTellTheSame() throws Exception {
        assertThat(beforeAnyRun).contains("no run yet");
        assertThat(get("/fourfold/")).contains("<template shadowrootmode=", "fourfold-live/script.js", "Training run");

        TrainResult result = train("whole", 6, Map.of(), -1);

        RunHistory run = MetricsReader.read(folder.resolve("whole"));
        assertThat(run.steps()).hasSize(6);
        assertThat(run.steps().get(5).loss()).isEqualTo(result.loss());
        assertThat(run.ranks()).extracting(RankBeat::rank).contains(0);
        assertThat(folder.resolve("whole/tensorboard")).isNotEmptyDirectory();

        String prometheus = get("/metrics/prometheus");
        assertThat(prometheus)
                .contains("metrics_fourfold_driver_plugin_io_fourfold_spark_watch_FourfoldPlugin_loss_Number"
                        + "{type=\"gauges\"} " + result.loss())
                .contains("FourfoldPlugin_step_Number{type=\"gauges\"} 6.0")
                .contains("FourfoldPlugin_restarts_Number{type=\"gauges\"} 0.0");

        String content = get("/fourfold-live/content");
        assertThat(content)
                .contains(
                        "finished, 6 steps",
                        "id=\"loss\"",
                        "id=\"experts\"",
                        "Layers by experts",
                        "<h3>MFU</h3>",
                        "all 6 steps are done")
                .doesNotContain("NaN,");
        assertThat(get("/fourfold-live/script.js")).contains("fourfoldCharts");
        assertThat(response("/fourfold-live/else").statusCode()).isEqualTo(404);
    }

    @Test
    void anAttemptThatFailedAndTheNextOneAreOneRun() throws Exception {
        try {
            train("parts", 6, Map.of(), 3);
        } catch (RuntimeException e) {
            assertThat(e).hasMessageContaining("shard 7 is corrupt");
        }
        train("parts", 6, Map.of(), -1);

        RunHistory run = MetricsReader.read(folder.resolve("parts"));
        assertThat(run.attempts()).isEqualTo(2);
        assertThat(run.steps()).hasSize(6);
        assertThat(get("/fourfold-live/content")).contains("2 starts").contains("finished, 6 steps");
        assertThat(get("/metrics/prometheus")).contains("FourfoldPlugin_restarts_Number{type=\"gauges\"} 1.0");
    }

    @Test
    void heartbeatsOfAllRanksArriveWhileTheRunGoesOn() throws Exception {
        Path stop = folder.resolve("long/STOP");
        CompletableFuture<TrainResult> run = CompletableFuture.supplyAsync(() -> train(
                "long",
                1_000_000,
                Map.of("run.log_every", "1000000", "run.checkpoint.every", "0", "run.tensorboard", "false"),
                -1));
        try {
            String content = "";
            for (int i = 0; i < 600 && !shows(content) && !run.isDone(); i++) {
                Thread.sleep(100);
                content = get("/fourfold-live/content");
            }
            assertThat(content).contains("<h3>Ranks</h3>", ">driver<", "training, step");
            assertThat(content.split("</tr>", -1)).hasSizeGreaterThan(3);
        } finally {
            Files.createFile(stop);
            assertThat(run.join().stopped()).isTrue();
        }
    }

    private static boolean shows(String content) {
        return content.contains("<h3>Ranks</h3>") && content.contains("training, step");
    }

    private static TrainResult train(String name, int steps, Map<String, String> more, int failAfter) {
        Map<String, String> settings = new TreeMap<>(more);
        settings.put("parallel.world_size", "2");
        settings.put("train.steps", Integer.toString(steps));
        settings.put("run.dir", folder.resolve(name).toString());
        settings.put("run.backend", "cpu");
        settings.put("run.peak_tflops", "0.001");
        settings.put("run.restart.max_restarts", "0");
        FourfoldConfig config = TinyRun.tinyConfig(settings);
        return TrainJob.run(config, spark, "tokenizer", new SyntheticSetup(failAfter));
    }

    private static String get(String path) throws Exception {
        HttpResponse<String> response = response(path);
        assertThat(response.statusCode()).as(path).isEqualTo(200);
        return response.body();
    }

    private static HttpResponse<String> response(String path) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(ui + path)).build();
        return HttpClient.newBuilder()
                .followRedirects(HttpClient.Redirect.NORMAL)
                .build()
                .send(request, HttpResponse.BodyHandlers.ofString());
    }
}
