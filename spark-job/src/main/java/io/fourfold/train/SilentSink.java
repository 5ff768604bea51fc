package io.fourfold.train;

import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.StepMetrics;
import java.util.Map;

/** The sink of ranks that do not report. */
public final class SilentSink implements MetricsSink {
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
