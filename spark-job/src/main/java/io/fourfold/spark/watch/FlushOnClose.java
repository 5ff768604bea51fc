package io.fourfold.spark.watch;

import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.StepMetrics;
import java.util.Map;
import java.util.concurrent.Callable;

/** Asks for an answer when it is flushed or closed: what was sent before on the same connection has then been taken. */
record FlushOnClose(Callable<?> question) implements MetricsSink {
    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {}

    @Override
    public void step(StepMetrics metrics) {}

    @Override
    public void evaluation(EvalMetrics metrics) {}

    @Override
    public void event(int step, String kind, String message) {}

    @Override
    public void close() {
        flush();
    }

    @Override
    public void flush() {
        try {
            question.call();
        } catch (RuntimeException e) {
            throw e;
        } catch (Exception e) {
            throw new IllegalStateException("the driver did not answer: " + e, e);
        }
    }
}
