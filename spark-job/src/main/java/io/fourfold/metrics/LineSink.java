package io.fourfold.metrics;

import java.time.Clock;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** Turns what it is told into lines as in metrics.jsonl, every step with all its details; {@link MetricsLine} reads them. */
public final class LineSink implements MetricsSink {
    private final Consumer<String> lines;
    private final Clock clock = Clock.systemUTC();

    /** Gives each line, without its line break, to {@code lines}. */
    public LineSink(Consumer<String> lines) {
        this.lines = lines;
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        lines.accept(MetricsJson.start(now(), facts, firstStep, totalSteps));
    }

    @Override
    public void step(StepMetrics metrics) {
        lines.accept(MetricsJson.step(now(), metrics, true, true));
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        lines.accept(MetricsJson.evaluation(now(), metrics));
    }

    @Override
    public void event(int step, String kind, String message) {
        lines.accept(MetricsJson.event(now(), step, kind, message));
    }

    @Override
    public void ranks(List<RankBeat> ranks) {
        lines.accept(MetricsJson.ranks(now(), ranks));
    }

    @Override
    public void close() {}

    private Instant now() {
        return clock.instant().truncatedTo(ChronoUnit.MILLIS);
    }
}
