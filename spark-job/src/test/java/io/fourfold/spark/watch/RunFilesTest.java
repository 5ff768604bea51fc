package io.fourfold.spark.watch;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.RunConfig;
import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.RunHistory;
import io.fourfold.train.TinyRun;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The files of a run whose folder is not on local disk; a local folder stands for the remote one. */
class RunFilesTest {
    private static final RunConfig RUN =
            TinyRun.tinyConfig(Map.of("run.dir", "s3a://bucket/run")).run();

    @TempDir
    Path remote;

    @Test
    void metricsAndReportArriveInTheRemoteFolderAndTheNextStartGoesOn() throws IOException {
        RunStorage storage = new LocalRunStorage(remote);
        try (RunFiles files = RunFiles.open(RUN, storage)) {
            files.start(Map.of("run", "far away"), 1, 6);
            files.event(0, EventKind.WARNING, "first");
        }
        try (RunFiles files = RunFiles.open(RUN, storage)) {
            assertThat(files.past().attempts()).isEqualTo(1);
            files.start(Map.of("run", "far away"), 1, 6);
            files.event(3, EventKind.RESTART, "second");
        }
        RunHistory run = MetricsReader.read(remote);
        assertThat(run.attempts()).isEqualTo(2);
        assertThat(run.events()).extracting(event -> event.message()).containsExactly("first", "second");
        assertThat(remote.resolve("report.html")).content().contains("far away", "second");
        assertThat(remote.resolve("tensorboard")).isNotEmptyDirectory();
        try (var all = Files.walk(remote)) {
            assertThat(all.filter(file -> file.toString().endsWith(".part"))).isEmpty();
        }
    }

    @Test
    void aCopyThatAKillLeftHalfwayIsFound() throws IOException {
        RunStorage storage = new LocalRunStorage(remote);
        try (RunFiles files = RunFiles.open(RUN, storage)) {
            files.start(Map.of(), 1, 6);
        }
        Files.move(remote.resolve("metrics.jsonl"), remote.resolve("metrics.jsonl.part"));
        try (RunFiles files = RunFiles.open(RUN, storage)) {
            assertThat(files.past().attempts()).isEqualTo(1);
        }
        assertThat(remote.resolve("metrics.jsonl")).exists();
    }
}
