package io.fourfold.metrics;

import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Keeps everything in memory, for tests and notebooks. */
public final class RecordingSink implements MetricsSink {
    private final List<StepMetrics> steps = new ArrayList<>();
    private final List<EvalMetrics> evaluations = new ArrayList<>();
    private final List<RunEvent> events = new ArrayList<>();
    private Map<String, String> facts = Map.of();
    private int starts;
    private int firstStep;
    private int totalSteps;
    private boolean closed;

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        this.facts = new LinkedHashMap<>(facts);
        this.firstStep = firstStep;
        this.totalSteps = totalSteps;
        starts++;
    }

    @Override
    public void step(StepMetrics metrics) {
        steps.add(metrics);
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        evaluations.add(metrics);
    }

    @Override
    public void event(int step, String kind, String message) {
        events.add(new RunEvent(step, kind, message, Instant.now(), Math.max(1, starts)));
    }

    @Override
    public void close() {
        closed = true;
    }

    public Map<String, String> facts() {
        return facts;
    }

    public int firstStep() {
        return firstStep;
    }

    public int totalSteps() {
        return totalSteps;
    }

    public List<StepMetrics> steps() {
        return List.copyOf(steps);
    }

    public List<EvalMetrics> evaluations() {
        return List.copyOf(evaluations);
    }

    public List<RunEvent> events() {
        return List.copyOf(events);
    }

    public boolean closed() {
        return closed;
    }
}
