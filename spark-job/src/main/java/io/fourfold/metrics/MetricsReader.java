package io.fourfold.metrics;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
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
    private Map<String, String> facts = Map.of();
    private int totalSteps;
    private int attempts;
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
                attempts,
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
                case "step" -> step(json);
                case "eval" -> evaluation(json);
                case "event" -> event(json, time);
                default -> {
                    // A kind of a later version: nothing this reader knows depends on it.
                    return;
                }
            }
            updated = time;
        } catch (JacksonException | DateTimeParseException | MissingFieldException e) {
            damaged++;
        }
    }

    private void start(JsonNode json, Instant time) {
        Map<String, String> read = new LinkedHashMap<>();
        required(json, "facts")
                .fields()
                .forEachRemaining(
                        fact -> read.put(fact.getKey(), fact.getValue().asText()));
        int total = required(json, "total_steps").asInt();
        facts = read;
        totalSteps = total;
        attempts++;
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

    private void step(JsonNode json) {
        int step = required(json, "step").asInt();
        Map<String, Double> phases = new LinkedHashMap<>();
        json.path("phases").fields().forEachRemaining(phase -> phases.put(phase.getKey(), value(phase.getValue())));
        List<LayerLoad> load = new ArrayList<>();
        json.path("expert_load")
                .fields()
                .forEachRemaining(layer -> load.add(layerLoad(layer.getKey(), layer.getValue())));
        Map<String, QuantStats> quantization = new LinkedHashMap<>();
        json.path("quantization")
                .fields()
                .forEachRemaining(operand -> quantization.put(operand.getKey(), stats(operand.getValue())));
        StepMetrics metrics = new StepMetrics(
                step,
                required(json, "tokens").asLong(),
                json.path("samples").asLong(),
                value(required(json, "loss")),
                value(json.path("aux_loss")),
                value(json.path("z_loss")),
                value(json.path("grad_norm")),
                value(json.path("learning_rate")),
                value(json.path("step_seconds")),
                value(json.path("tokens_per_second")),
                value(json.path("flops_per_second")),
                value(json.path("mfu")),
                phases,
                load,
                value(json.path("dropped")),
                quantization);
        if (steps.put(step, metrics) != null) {
            superseded++;
        }
    }

    private void evaluation(JsonNode json) {
        int step = required(json, "step").asInt();
        EvalMetrics metrics = new EvalMetrics(
                step, value(required(json, "loss")), json.path("tokens").asLong(), value(json.path("seconds")));
        if (evaluations.put(step, metrics) != null) {
            superseded++;
        }
    }

    private void event(JsonNode json, Instant time) {
        events.add(new RunEvent(
                required(json, "step").asInt(),
                required(json, "event").asText(),
                json.path("message").asText(),
                time,
                Math.max(1, attempts)));
    }

    private static LayerLoad layerLoad(String layer, JsonNode counts) {
        int[] tokens = new int[counts.size()];
        for (int expert = 0; expert < tokens.length; expert++) {
            tokens[expert] = counts.get(expert).asInt();
        }
        try {
            return new LayerLoad(Integer.parseInt(layer), tokens);
        } catch (NumberFormatException e) {
            throw new MissingFieldException("expert_load has a layer named " + layer, e);
        }
    }

    private static QuantStats stats(JsonNode json) {
        return new QuantStats(
                json.path("elements").asLong(),
                json.path("zero_codes").asLong(),
                json.path("saturated").asLong(),
                json.path("blocks").asLong(),
                json.path("scale_underflows").asLong(),
                (float) value(json.path("amax")),
                value(json.path("signal")),
                value(json.path("noise")));
    }

    /** Null and absent numbers are NaN. */
    private static double value(JsonNode number) {
        return number.isNumber() ? number.asDouble() : Double.NaN;
    }

    private static JsonNode required(JsonNode json, String name) {
        JsonNode node = json.get(name);
        if (node == null) {
            throw new MissingFieldException("No field " + name, null);
        }
        return node;
    }

    /** A line that is JSON but not one of ours. */
    private static final class MissingFieldException extends RuntimeException {
        private static final long serialVersionUID = 1;

        MissingFieldException(String message, @Nullable Throwable cause) {
            super(message, cause);
        }
    }
}
