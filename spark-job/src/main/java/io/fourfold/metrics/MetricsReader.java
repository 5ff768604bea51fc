package io.fourfold.metrics;

import static io.fourfold.metrics.MetricsLine.required;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Reads metrics.jsonl. A run that is still being written, or that was killed, reads as far as it got: the last line of a
 * step wins, lines that a resume superseded are left out, damaged lines are counted and skipped.
 */
public final class MetricsReader {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private final TreeMap<Integer, StepMetrics> steps = new TreeMap<>();
    private final TreeMap<Integer, EvalMetrics> evaluations = new TreeMap<>();
    private final List<RunEvent> events = new ArrayList<>();
    private final List<RunStart> starts = new ArrayList<>();
    private List<RankBeat> ranks = List.of();
    private Map<String, String> facts = Map.of();
    private int totalSteps;
    private int superseded;
    private int damaged;
    private @Nullable Instant started;
    private @Nullable Instant updated;

    private MetricsReader() {}

    /**
     * Reads a run folder.
     *
     * @return {@link RunHistory#EMPTY} when the folder has no metrics.jsonl
     * @throws IOException when the file cannot be read
     */
    public static RunHistory read(Path runFolder) throws IOException {
        Path file = runFolder.resolve(JsonlSink.FILE_NAME);
        if (!Files.exists(file)) {
            return RunHistory.EMPTY;
        }
        MetricsReader reader = new MetricsReader();
        // InputStreamReader replaces malformed bytes of a damaged line; a strict decoder would lose the rest.
        try (BufferedReader lines = new BufferedReader(
                new InputStreamReader(Files.newInputStream(file), StandardCharsets.UTF_8), 1 << 16)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (!line.isBlank()) {
                    reader.accept(line);
                }
            }
        }
        return reader.history();
    }

    private RunHistory history() {
        return new RunHistory(
                facts,
                totalSteps,
                List.copyOf(steps.values()),
                List.copyOf(evaluations.values()),
                List.copyOf(events),
                List.copyOf(starts),
                List.copyOf(ranks),
                superseded,
                damaged,
                started,
                updated);
    }

    private void accept(String line) {
        try {
            JsonNode json = MAPPER.readTree(line);
            Instant time = Instant.parse(required(json, "time").asText());
            switch (required(json, "kind").asText()) {
                case "start" -> start(json, time);
                case "resume" -> resume(required(json, "first_step").asInt());
                case "step" -> step(MetricsLine.step(json));
                case "eval" -> evaluation(MetricsLine.evaluation(json));
                case "event" -> event(json, time);
                case "ranks" -> ranks = MetricsLine.ranks(json);
                default -> {
                    // A kind of a later version: nothing this reader knows depends on it.
                    return;
                }
            }
            updated = time;
        } catch (JacksonException | DateTimeParseException | MetricsLine.MissingFieldException e) {
            damaged++;
        }
    }

    private void start(JsonNode json, Instant time) {
        Map<String, String> read = MetricsLine.facts(json);
        int total = required(json, "total_steps").asInt();
        facts = read;
        totalSteps = total;
        starts.add(new RunStart(starts.size() + 1, time, json.path("first_step").asInt(1)));
        if (started == null) {
            started = time;
        }
    }

    private void resume(int firstStep) {
        Map<Integer, StepMetrics> oldSteps = steps.tailMap(firstStep, true);
        Map<Integer, EvalMetrics> oldEvaluations = evaluations.tailMap(firstStep, true);
        superseded += oldSteps.size() + oldEvaluations.size();
        oldSteps.clear();
        oldEvaluations.clear();
    }

    private void step(StepMetrics metrics) {
        if (steps.put(metrics.step(), metrics) != null) {
            superseded++;
        }
    }

    private void evaluation(EvalMetrics metrics) {
        if (evaluations.put(metrics.step(), metrics) != null) {
            superseded++;
        }
    }

    private void event(JsonNode json, Instant time) {
        events.add(new RunEvent(
                required(json, "step").asInt(),
                required(json, "event").asText(),
                json.path("message").asText(),
                time,
                Math.max(1, starts.size())));
    }
}
