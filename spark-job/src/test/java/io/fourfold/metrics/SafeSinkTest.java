package io.fourfold.metrics;

import static io.fourfold.metrics.SampleMetrics.facts;
import static io.fourfold.metrics.SampleMetrics.step;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafeSinkTest {
    @TempDir
    Path folder;

    /** Fails the first calls, then works. */
    private static final class DiskFullSink extends MetricsSinkStub {
        int calls;
        int steps;

        @Override
        public void step(StepMetrics metrics) {
            if (++calls <= 3) {
                throw new UncheckedIOException("Cannot append", new IOException("No space left on device"));
            }
            steps++;
        }
    }

    private static class MetricsSinkStub implements MetricsSink {
        @Override
        public void start(Map<String, String> facts, int firstStep, int totalSteps) {}

        @Override
        public void step(StepMetrics metrics) {}

        @Override
        public void evaluation(EvalMetrics metrics) {}

        @Override
        public void event(int step, String kind, String message) {}

        @Override
        public void close() {}
    }

    @Test
    void warnsOnceGoesOnAndSumsUp() {
        List<String> warnings = new ArrayList<>();
        DiskFullSink inner = new DiskFullSink();
        try (SafeSink sink = new SafeSink(inner, "metrics.jsonl", warnings::add)) {
            for (int step = 1; step <= 5; step++) {
                sink.step(step(step));
            }
            assertThat(warnings).hasSize(1);
        }
        assertThat(inner.steps).isEqualTo(2);
        assertThat(warnings).hasSize(2);
        assertThat(warnings.get(0)).contains("metrics.jsonl").contains("No space left on device");
        assertThat(warnings.get(1)).contains("3 writes");
    }

    @Test
    void aRunFolderThatCannotBeWrittenDoesNotStopTheOtherSinks() throws IOException {
        Path notAFolder = Files.writeString(folder.resolve("file"), "in the way");
        ByteArrayOutputStream console = new ByteArrayOutputStream();

        try (MetricsSink sink =
                Sinks.open(notAFolder, 1, true, new PrintStream(console, true, StandardCharsets.UTF_8))) {
            sink.start(facts(), 1, 2);
            sink.step(step(1));
        }

        assertThat(console.toString(StandardCharsets.UTF_8)).contains("step 1/2  loss 5.0000");
    }

    @Test
    void openWritesAllThree() throws IOException {
        ByteArrayOutputStream console = new ByteArrayOutputStream();
        RecordingSink recording = new RecordingSink();
        try (MetricsSink sink = Sinks.all(List.of(
                Sinks.open(folder, 1, true, new PrintStream(console, true, StandardCharsets.UTF_8)), recording))) {
            sink.start(facts(), 1, 2);
            sink.step(step(1));
            sink.event(1, EventKind.WARNING, "w");
        }
        assertThat(MetricsReader.read(folder).steps()).hasSize(1);
        assertThat(folder.resolve("tensorboard")).isNotEmptyDirectory();
        assertThat(console.toString(StandardCharsets.UTF_8)).contains("[warning] step 1: w");
        assertThat(recording.steps()).hasSize(1);
        assertThat(recording.closed()).isTrue();
    }
}
