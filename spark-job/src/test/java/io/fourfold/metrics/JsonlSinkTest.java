package io.fourfold.metrics;

import static io.fourfold.metrics.SampleMetrics.CLOCK;
import static io.fourfold.metrics.SampleMetrics.facts;
import static io.fourfold.metrics.SampleMetrics.step;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class JsonlSinkTest {
    @TempDir
    Path folder;

    private Path file() {
        return folder.resolve(JsonlSink.FILE_NAME);
    }

    private void write(int first, int last, int total, double lossScale) {
        try (JsonlSink sink = new JsonlSink(folder, CLOCK)) {
            sink.start(facts(), first, total);
            for (int step = first; step <= last; step++) {
                sink.step(step(step, lossScale / step));
            }
        }
    }

    @Test
    void readsBackWhatWasWritten() throws IOException {
        StepMetrics written = step(1);
        try (JsonlSink sink = new JsonlSink(folder.resolve("made/on/start"), CLOCK)) {
            sink.start(facts(), 1, 10);
            sink.step(written);
            sink.evaluation(new EvalMetrics(1, 4.5, 999, 1.25));
            sink.event(1, EventKind.CHECKPOINT, "line one\nline \"two\" \u00e4");
        }

        RunHistory history = MetricsReader.read(folder.resolve("made/on/start"));

        assertThat(history.facts()).containsExactlyEntriesOf(facts());
        assertThat(history.totalSteps()).isEqualTo(10);
        assertThat(history.steps()).hasSize(1);
        assertThat(history.steps().get(0))
                .usingRecursiveComparison()
                .withEqualsForType((a, b) -> a.doubleValue() == b || a.isNaN() && b.isNaN(), Double.class)
                .isEqualTo(written);
        assertThat(history.steps().get(0).phases().keySet()).containsExactly("forward", "backward");
        assertThat(history.evaluations()).containsExactly(new EvalMetrics(1, 4.5, 999, 1.25));
        assertThat(history.events())
                .containsExactly(
                        new RunEvent(1, EventKind.CHECKPOINT, "line one\nline \"two\" \u00e4", CLOCK.instant(), 1));
        assertThat(history.damagedLines()).isZero();
        assertThat(history.started()).isEqualTo(CLOCK.instant());
        assertThat(history.complete()).isFalse();
    }

    @Test
    void everyLineIsOneJsonObjectAndNonFiniteNumbersAreNull() throws IOException {
        try (JsonlSink sink = new JsonlSink(folder, CLOCK)) {
            sink.start(facts(), 1, 2);
            sink.step(step(1, Double.POSITIVE_INFINITY));
        }

        List<String> lines = Files.readAllLines(file());

        assertThat(lines).hasSize(2);
        ObjectMapper mapper = new ObjectMapper();
        for (String line : lines) {
            assertThat(mapper.readTree(line).isObject()).isTrue();
        }
        assertThat(mapper.readTree(lines.get(1)).get("loss").isNull()).isTrue();
        assertThat(MetricsReader.read(folder).steps().get(0).loss()).isNaN();
    }

    @Test
    void aResumeSupersedesLaterLinesOfTheAbortedAttemptAndKeepsThem() throws IOException {
        write(1, 8, 10, 1.0);
        long lines = Files.readAllLines(file()).size();

        write(5, 6, 10, 2.0);

        assertThat(Files.readAllLines(file())).hasSize((int) lines + 1 + 1 + 2);
        RunHistory history = MetricsReader.read(folder);
        assertThat(history.steps()).extracting(StepMetrics::step).containsExactly(1, 2, 3, 4, 5, 6);
        assertThat(history.steps().get(3).loss()).isEqualTo(1.0 / 4);
        assertThat(history.steps().get(4).loss()).isEqualTo(2.0 / 5);
        assertThat(history.supersededLines()).isEqualTo(4);
        assertThat(history.attempts()).isEqualTo(2);
    }

    @Test
    void aFreshStartInAnOldFolderSupersedesEverything() throws IOException {
        write(1, 8, 10, 1.0);
        write(1, 2, 10, 3.0);

        RunHistory history = MetricsReader.read(folder);

        assertThat(history.steps()).extracting(StepMetrics::loss).containsExactly(3.0, 1.5);
    }

    @Test
    void aLineCutOffByAKillIsSkippedAndTheNextAttemptStaysReadable() throws IOException {
        write(1, 3, 10, 1.0);
        Files.writeString(file(), "{\"kind\":\"step\",\"st", StandardOpenOption.APPEND);
        assertThat(MetricsReader.read(folder).damagedLines()).isEqualTo(1);

        write(4, 5, 10, 1.0);

        RunHistory history = MetricsReader.read(folder);
        assertThat(history.steps()).extracting(StepMetrics::step).containsExactly(1, 2, 3, 4, 5);
        assertThat(history.damagedLines()).isEqualTo(1);
    }

    @Test
    void foreignLinesDoNotStopTheReader() throws IOException {
        write(1, 1, 2, 1.0);
        Files.writeString(
                file(),
                "\n[1,2]\nnull\n{}\n{\"kind\":\"step\",\"time\":\"yesterday\"}\n"
                        + "{\"kind\":\"later_version\",\"time\":\"2026-01-01T00:00:00Z\"}\n",
                StandardOpenOption.APPEND);

        RunHistory history = MetricsReader.read(folder);

        assertThat(history.steps()).hasSize(1);
        assertThat(history.damagedLines()).isEqualTo(4);
    }

    @Test
    void bulkyPartsAreThinnedInALongRun() throws IOException {
        try (JsonlSink sink = new JsonlSink(folder, CLOCK)) {
            sink.start(facts(), 1, 5000);
            for (int step = 1; step <= 100; step++) {
                sink.step(step(step));
            }
            sink.step(step(5000));
        }

        RunHistory history = MetricsReader.read(folder);

        assertThat(history.steps()).hasSize(101);
        assertThat(history.steps().stream().filter(s -> !s.expertLoad().isEmpty()))
                .extracting(StepMetrics::step)
                .containsExactly(1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 5000);
        assertThat(history.steps().stream().filter(s -> !s.quantization().isEmpty()))
                .extracting(StepMetrics::step)
                .containsExactly(1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 5000);
    }

    @Test
    void aFolderWithoutMetricsIsEmpty() throws IOException {
        assertThat(MetricsReader.read(folder)).isEqualTo(RunHistory.EMPTY);
        assertThat(RunHistory.EMPTY.facts()).isEqualTo(Map.of());
    }

    @Test
    void tokensAtFindsAStep() throws IOException {
        write(1, 8, 10, 1.0);
        RunHistory history = MetricsReader.read(folder);
        assertThat(history.tokensAt(0)).hasValue(0);
        assertThat(history.tokensAt(7)).hasValue(7 * 1024);
        assertThat(history.tokensAt(9)).isEmpty();
    }
}
