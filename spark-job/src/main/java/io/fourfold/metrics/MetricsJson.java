package io.fourfold.metrics;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.io.IOException;
import java.io.StringWriter;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;

/** The lines of metrics.jsonl. JSON has no NaN or infinity: such a number is written as null and read as NaN. */
final class MetricsJson {
    static final int VERSION = 1;
    static final String BEAT_START = "{\"kind\":\"beat\"";

    private static final JsonFactory FACTORY = new JsonFactory();

    private MetricsJson() {}

    static String start(Instant time, Map<String, String> facts, int firstStep, int totalSteps) {
        return line("start", time, json -> {
            json.writeNumberField("version", VERSION);
            json.writeNumberField("first_step", firstStep);
            json.writeNumberField("total_steps", totalSteps);
            json.writeObjectFieldStart("facts");
            for (Map.Entry<String, String> fact : facts.entrySet()) {
                json.writeStringField(fact.getKey(), fact.getValue());
            }
            json.writeEndObject();
        });
    }

    static String resume(Instant time, int firstStep) {
        return line("resume", time, json -> json.writeNumberField("first_step", firstStep));
    }

    static String evaluation(Instant time, EvalMetrics metrics) {
        return line("eval", time, json -> {
            json.writeNumberField("step", metrics.step());
            number(json, "loss", metrics.loss());
            number(json, "perplexity", metrics.perplexity());
            json.writeNumberField("tokens", metrics.tokens());
            number(json, "seconds", metrics.seconds());
        });
    }

    static String event(Instant time, int step, String kind, String message) {
        return line("event", time, json -> {
            json.writeNumberField("step", step);
            json.writeStringField("event", kind);
            json.writeStringField("message", message);
        });
    }

    static String ranks(Instant time, List<RankBeat> ranks) {
        return line("ranks", time, json -> {
            json.writeArrayFieldStart("ranks");
            for (RankBeat rank : ranks) {
                json.writeStartObject();
                rank(json, rank);
                json.writeEndObject();
            }
            json.writeEndArray();
        });
    }

    static String beat(RankBeat rank) {
        return line("beat", rank.seen(), json -> rank(json, rank));
    }

    private static void rank(JsonGenerator json, RankBeat rank) throws IOException {
        json.writeNumberField("rank", rank.rank());
        json.writeStringField("host", rank.host());
        json.writeStringField("executor", rank.executor());
        json.writeNumberField("step", rank.step());
        json.writeStringField("phase", rank.phase());
        number(json, "phase_seconds", rank.phaseSeconds());
        json.writeStringField("seen", rank.seen().truncatedTo(ChronoUnit.MILLIS).toString());
    }

    /** A step; the two bulky parts are optional. */
    static String step(Instant time, StepMetrics metrics, boolean withLoad, boolean withQuantization) {
        return line("step", time, json -> {
            json.writeNumberField("step", metrics.step());
            json.writeNumberField("tokens", metrics.tokens());
            json.writeNumberField("samples", metrics.samples());
            number(json, "loss", metrics.loss());
            number(json, "aux_loss", metrics.auxLoss());
            number(json, "z_loss", metrics.zLoss());
            number(json, "grad_norm", metrics.gradNorm());
            number(json, "learning_rate", metrics.learningRate());
            number(json, "step_seconds", metrics.stepSeconds());
            number(json, "tokens_per_second", metrics.tokensPerSecond());
            number(json, "flops_per_second", metrics.flopsPerSecond());
            number(json, "mfu", metrics.mfu());
            number(json, "dropped", metrics.dropped());
            json.writeObjectFieldStart("phases");
            for (Map.Entry<String, Double> phase : metrics.phases().entrySet()) {
                number(json, phase.getKey(), phase.getValue());
            }
            json.writeEndObject();
            json.writeObjectFieldStart("bytes_sent");
            for (Map.Entry<String, Long> axis : metrics.bytesSent().entrySet()) {
                json.writeNumberField(axis.getKey(), axis.getValue());
            }
            json.writeEndObject();
            if (withLoad && !metrics.expertLoad().isEmpty()) {
                expertLoad(json, metrics);
            }
            if (withQuantization && !metrics.quantization().isEmpty()) {
                quantization(json, metrics);
            }
        });
    }

    private static void expertLoad(JsonGenerator json, StepMetrics metrics) throws IOException {
        json.writeObjectFieldStart("expert_load");
        for (LayerLoad load : metrics.expertLoad()) {
            json.writeFieldName(Integer.toString(load.layer()));
            json.writeArray(load.tokens(), 0, load.tokens().length);
        }
        json.writeEndObject();
    }

    private static void quantization(JsonGenerator json, StepMetrics metrics) throws IOException {
        json.writeObjectFieldStart("quantization");
        for (Map.Entry<String, QuantStats> operand : metrics.quantization().entrySet()) {
            QuantStats stats = operand.getValue();
            json.writeObjectFieldStart(operand.getKey());
            json.writeNumberField("elements", stats.elements());
            json.writeNumberField("zero_codes", stats.zeroCodes());
            json.writeNumberField("saturated", stats.saturated());
            json.writeNumberField("blocks", stats.blocks());
            json.writeNumberField("scale_underflows", stats.scaleUnderflows());
            number(json, "amax", stats.amax());
            number(json, "signal", stats.signal());
            number(json, "noise", stats.noise());
            json.writeEndObject();
        }
        json.writeEndObject();
    }

    private static void number(JsonGenerator json, String name, double value) throws IOException {
        if (Double.isFinite(value)) {
            json.writeNumberField(name, value);
        } else {
            json.writeNullField(name);
        }
    }

    private static String line(String kind, Instant time, Body body) {
        StringWriter text = new StringWriter(512);
        try (JsonGenerator json = FACTORY.createGenerator(text)) {
            json.writeStartObject();
            json.writeStringField("kind", kind);
            json.writeStringField("time", time.toString());
            body.write(json);
            json.writeEndObject();
        } catch (IOException e) {
            throw new IllegalStateException("A " + kind + " line could not be written to memory", e);
        }
        return text.toString();
    }

    @FunctionalInterface
    private interface Body {
        void write(JsonGenerator json) throws IOException;
    }
}
