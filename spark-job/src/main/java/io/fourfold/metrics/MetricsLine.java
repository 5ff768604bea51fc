package io.fourfold.metrics;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Reads the lines that {@link MetricsJson} writes. */
public final class MetricsLine {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private MetricsLine() {}

    /**
     * Tells a sink what a line says. A {@code resume} line says nothing that the {@code start} line does not.
     *
     * @param line one line as a {@link LineSink} gives it
     * @throws IllegalArgumentException when it is none of ours
     */
    public static void deliver(String line, MetricsSink sink) {
        try {
            JsonNode json = MAPPER.readTree(line);
            switch (required(json, "kind").asText()) {
                case "start" ->
                    sink.start(
                            facts(json),
                            required(json, "first_step").asInt(),
                            required(json, "total_steps").asInt());
                case "step" -> sink.step(step(json));
                case "eval" -> sink.evaluation(evaluation(json));
                case "event" ->
                    sink.event(
                            required(json, "step").asInt(),
                            required(json, "event").asText(),
                            json.path("message").asText());
                case "ranks" -> sink.ranks(ranks(json));
                default -> {
                    // A kind of a later version: nothing that is shown depends on it.
                }
            }
        } catch (JsonProcessingException | MissingFieldException e) {
            throw new IllegalArgumentException("not a line of metrics: " + e.getMessage(), e);
        }
    }

    /** A rank's heartbeat as a line; it is sent and never stored. */
    public static String beat(RankBeat rank) {
        return MetricsJson.beat(rank);
    }

    /**
     * The heartbeat that a line holds, empty for any other line.
     *
     * @param seen when it arrived: the clocks of machines differ
     * @throws IllegalArgumentException when it is none of ours
     */
    public static Optional<RankBeat> asBeat(String line, Instant seen) {
        if (!line.startsWith(MetricsJson.BEAT_START)) {
            return Optional.empty();
        }
        try {
            RankBeat sent = rank(MAPPER.readTree(line));
            return Optional.of(new RankBeat(
                    sent.rank(), sent.host(), sent.executor(), sent.step(), sent.phase(), sent.phaseSeconds(), seen));
        } catch (JsonProcessingException | MissingFieldException e) {
            throw new IllegalArgumentException("not a heartbeat: " + e.getMessage(), e);
        }
    }

    static Map<String, String> facts(JsonNode json) {
        Map<String, String> facts = new LinkedHashMap<>();
        required(json, "facts")
                .fields()
                .forEachRemaining(
                        fact -> facts.put(fact.getKey(), fact.getValue().asText()));
        return facts;
    }

    static StepMetrics step(JsonNode json) {
        int step = required(json, "step").asInt();
        Map<String, Double> phases = new LinkedHashMap<>();
        json.path("phases").fields().forEachRemaining(phase -> phases.put(phase.getKey(), value(phase.getValue())));
        Map<String, Long> bytesSent = new LinkedHashMap<>();
        json.path("bytes_sent")
                .fields()
                .forEachRemaining(
                        axis -> bytesSent.put(axis.getKey(), axis.getValue().asLong()));
        List<LayerLoad> load = new ArrayList<>();
        json.path("expert_load")
                .fields()
                .forEachRemaining(layer -> load.add(layerLoad(layer.getKey(), layer.getValue())));
        Map<String, QuantStats> quantization = new LinkedHashMap<>();
        json.path("quantization")
                .fields()
                .forEachRemaining(operand -> quantization.put(operand.getKey(), stats(operand.getValue())));
        return new StepMetrics(
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
                bytesSent,
                load,
                value(json.path("dropped")),
                quantization);
    }

    static EvalMetrics evaluation(JsonNode json) {
        return new EvalMetrics(
                required(json, "step").asInt(),
                value(required(json, "loss")),
                json.path("tokens").asLong(),
                value(json.path("seconds")));
    }

    static List<RankBeat> ranks(JsonNode json) {
        List<RankBeat> ranks = new ArrayList<>();
        for (JsonNode rank : required(json, "ranks")) {
            ranks.add(rank(rank));
        }
        return ranks;
    }

    private static RankBeat rank(JsonNode json) {
        return new RankBeat(
                required(json, "rank").asInt(),
                json.path("host").asText(),
                json.path("executor").asText(),
                json.path("step").asInt(),
                json.path("phase").asText(),
                value(json.path("phase_seconds")),
                Instant.parse(required(json, "seen").asText()));
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

    static JsonNode required(JsonNode json, String name) {
        JsonNode node = json.get(name);
        if (node == null) {
            throw new MissingFieldException("No field " + name, null);
        }
        return node;
    }

    /** A line that is JSON but not one of ours. */
    static final class MissingFieldException extends RuntimeException {
        private static final long serialVersionUID = 1;

        MissingFieldException(String message, @Nullable Throwable cause) {
            super(message, cause);
        }
    }
}
