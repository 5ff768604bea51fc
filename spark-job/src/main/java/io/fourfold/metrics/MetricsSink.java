package io.fourfold.metrics;

import java.util.List;
import java.util.Map;

/** Receives what rank 0 reports, and where every rank is. Sinks never end a run: a sink that cannot write warns once and stays silent. */
public interface MetricsSink extends AutoCloseable {
    /**
     * Once, before the first step of an attempt.
     *
     * @param facts name, model, recipe, ranks, parameters, token budget ... in display order
     * @param firstStep the first step this attempt runs: 1 in a fresh run, s + 1 after resuming a checkpoint of step s
     * @param totalSteps the last step of the whole run
     */
    void start(Map<String, String> facts, int firstStep, int totalSteps);

    void step(StepMetrics metrics);

    void evaluation(EvalMetrics metrics);

    /**
     * Something a reader of the run should know: a checkpoint, a resume, a switch of precision, a failed save.
     *
     * @param step the last finished step
     * @param kind one of {@link EventKind}, or a word of the caller's own (snake_case)
     */
    void event(int step, String kind, String message);

    /**
     * On every rank, when a part of a step begins; cheap, for it is called in the step loop.
     *
     * @param step the step that runs, 1-based
     * @param phase data, forward_backward, gradients, optimizer, evaluation, checkpoint ...
     */
    default void phase(int step, String phase) {}

    /** Where the ranks were when an attempt ended, by rank; told on the driver, once an attempt. */
    default void ranks(List<RankBeat> ranks) {}

    /**
     * Returns when what was told before outlives this process. Called before a checkpoint is written: a run that continues
     * from it does not tell those steps again. The one method that may end a run, when whoever should be told is gone.
     */
    default void flush() {}

    @Override
    void close();
}
