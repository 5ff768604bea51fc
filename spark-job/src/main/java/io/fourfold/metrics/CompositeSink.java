package io.fourfold.metrics;

import java.util.List;
import java.util.Map;

/** Passes everything to several sinks in order. */
final class CompositeSink implements MetricsSink {
    private final List<MetricsSink> sinks;

    CompositeSink(List<? extends MetricsSink> sinks) {
        this.sinks = List.copyOf(sinks);
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        sinks.forEach(sink -> sink.start(facts, firstStep, totalSteps));
    }

    @Override
    public void step(StepMetrics metrics) {
        sinks.forEach(sink -> sink.step(metrics));
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        sinks.forEach(sink -> sink.evaluation(metrics));
    }

    @Override
    public void event(int step, String kind, String message) {
        sinks.forEach(sink -> sink.event(step, kind, message));
    }

    @Override
    public void phase(int step, String phase) {
        sinks.forEach(sink -> sink.phase(step, phase));
    }

    @Override
    public void ranks(List<RankBeat> ranks) {
        sinks.forEach(sink -> sink.ranks(ranks));
    }

    @Override
    public void flush() {
        sinks.forEach(MetricsSink::flush);
    }

    @Override
    public void close() {
        sinks.forEach(MetricsSink::close);
    }
}
