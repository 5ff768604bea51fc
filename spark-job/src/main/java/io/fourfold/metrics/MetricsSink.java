package io.fourfold.metrics;

import java.util.Map;

/** Receives what rank 0 reports. Sinks never end a run: a sink that cannot write warns once and stays silent. */
public interface MetricsSink extends AutoCloseable {
    /** Once, before the first step: name, model, recipe, ranks, parameters, token budget ... in display order. */
    void start(Map<String, String> facts, int firstStep, int totalSteps);

    void step(StepMetrics metrics);

    void evaluation(EvalMetrics metrics);

    /** Something a reader of the run should know: a checkpoint, a resume, a switch of precision, a failed save. */
    void event(int step, String kind, String message);

    @Override
    void close();
}
