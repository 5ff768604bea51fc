package io.fourfold.metrics;

import io.fourfold.kernels.op.QuantStats;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Writes scalars for TensorBoard into one event file a start. The tags are listed in docs/metrics.md. A resumed attempt
 * writes a session start at its first step, upon which TensorBoard drops what an aborted attempt wrote from there on.
 */
public final class TensorBoardSink implements MetricsSink {
    private final Path folder;
    private final Clock clock;
    private @Nullable EventFile events;

    /** Writes into {@code folder}, which is made on the first write. */
    public TensorBoardSink(Path folder) {
        this(folder, Clock.systemUTC());
    }

    TensorBoardSink(Path folder, Clock clock) {
        this.folder = folder;
        this.clock = clock;
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        write(file -> file.sessionStart(wallTime(), firstStep));
    }

    @Override
    public void step(StepMetrics metrics) {
        Map<String, Double> scalars = new LinkedHashMap<>();
        scalars.put("train/loss", metrics.loss());
        scalars.put("train/lr", metrics.learningRate());
        scalars.put("train/grad_norm", metrics.gradNorm());
        scalars.put("throughput/tokens_per_second", metrics.tokensPerSecond());
        scalars.put("throughput/step_seconds", metrics.stepSeconds());
        scalars.put("throughput/flops_per_second", metrics.flopsPerSecond());
        putIfFinite(scalars, "throughput/mfu", metrics.mfu());
        metrics.phases().forEach((phase, seconds) -> scalars.put("phase_seconds/" + phase, seconds));
        metrics.bytesSent().forEach((axis, bytes) -> scalars.put("bytes_sent/" + axis, (double) bytes));
        if (!metrics.expertLoad().isEmpty()) {
            scalars.put("moe/aux_loss", metrics.auxLoss());
            scalars.put("moe/z_loss", metrics.zLoss());
            scalars.put("moe/dropped", metrics.dropped());
            for (StepMetrics.LayerLoad load : metrics.expertLoad()) {
                scalars.put("moe/imbalance/layer_" + load.layer(), load.imbalance());
            }
        }
        quantization(metrics.quantization(), scalars);
        write(file -> file.scalars(wallTime(), metrics.step(), scalars));
    }

    /** One value per operand over all layers: a tag per layer and operand would be thousands. */
    private static void quantization(Map<String, QuantStats> byOperand, Map<String, Double> scalars) {
        Map<String, QuantStats> overLayers = new TreeMap<>();
        byOperand.forEach(
                (name, stats) -> overLayers.merge(OperandName.parse(name).operand(), stats, QuantStats::plus));
        overLayers.forEach((operand, stats) -> {
            scalars.put("fp4/underflow/" + operand, stats.underflowShare());
            scalars.put("fp4/saturated/" + operand, stats.saturatedShare());
            putIfFinite(scalars, "fp4/sqnr_db/" + operand, stats.sqnrDb());
        });
    }

    private static void putIfFinite(Map<String, Double> scalars, String tag, double value) {
        if (Double.isFinite(value)) {
            scalars.put(tag, value);
        }
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        Map<String, Double> scalars = new LinkedHashMap<>();
        scalars.put("eval/loss", metrics.loss());
        scalars.put("eval/perplexity", metrics.perplexity());
        write(file -> file.scalars(wallTime(), metrics.step(), scalars));
    }

    /** Scalars only: events are in metrics.jsonl and in the report. */
    @Override
    public void event(int step, String kind, String message) {}

    @Override
    public void close() {
        EventFile open = events;
        events = null;
        if (open != null) {
            try {
                open.close();
            } catch (IOException e) {
                throw new UncheckedIOException("Cannot close " + open.path(), e);
            }
        }
    }

    private double wallTime() {
        return clock.millis() / 1000.0;
    }

    private void write(Write write) {
        try {
            EventFile open = events;
            if (open == null) {
                Files.createDirectories(folder);
                open = EventFile.create(folder, wallTime());
                events = open;
            }
            write.to(open);
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot write TensorBoard events into " + folder, e);
        }
    }

    @FunctionalInterface
    private interface Write {
        void to(EventFile file) throws IOException;
    }
}
