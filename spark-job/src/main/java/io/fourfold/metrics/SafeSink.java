package io.fourfold.metrics;

import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * Keeps a failing sink from ending a run: the first failure is warned about, later ones are counted, and the calls go on
 * (a full disk may be freed). {@link #close} says how many calls were lost.
 */
public final class SafeSink implements MetricsSink {
    private final MetricsSink sink;
    private final String name;
    private final Consumer<String> warnings;
    private int failures;

    /**
     * Wraps a sink.
     *
     * @param name what the sink writes, for the warning
     * @param warnings receives one line a warning
     */
    public SafeSink(MetricsSink sink, String name, Consumer<String> warnings) {
        this.sink = sink;
        this.name = name;
        this.warnings = warnings;
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        guard(() -> sink.start(facts, firstStep, totalSteps));
    }

    @Override
    public void step(StepMetrics metrics) {
        guard(() -> sink.step(metrics));
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        guard(() -> sink.evaluation(metrics));
    }

    @Override
    public void event(int step, String kind, String message) {
        guard(() -> sink.event(step, kind, message));
    }

    @Override
    public void phase(int step, String phase) {
        guard(() -> sink.phase(step, phase));
    }

    @Override
    public void ranks(List<RankBeat> ranks) {
        guard(() -> sink.ranks(ranks));
    }

    @Override
    public void flush() {
        guard(sink::flush);
    }

    @Override
    public void close() {
        guard(sink::close);
        if (failures > 1) {
            warnings.accept(
                    "Metrics: " + failures + " writes to " + name + " failed in all; the run itself is not affected");
        }
    }

    private void guard(Runnable call) {
        try {
            call.run();
        } catch (RuntimeException e) {
            failures++;
            if (failures == 1) {
                Throwable cause = e.getCause() == null ? e : e.getCause();
                warnings.accept("Metrics: cannot write " + name + " (" + e.getMessage() + "; " + cause
                        + "). Training goes on; further failures of it are only counted");
            }
        }
    }
}
