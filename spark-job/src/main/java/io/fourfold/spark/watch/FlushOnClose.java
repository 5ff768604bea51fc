package io.fourfold.spark.watch;

import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.train.TrainingException;
import java.util.Map;
import java.util.concurrent.Callable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Asks for an answer when it is flushed or closed: what was sent before on the same connection has then been taken.
 *
 * <p>A flush without an answer ends the rank. Executors outlive a lost driver by some steps; a checkpoint of those would be
 * one whose steps nobody has heard of, and the next driver would continue from it.
 */
record FlushOnClose(Callable<?> question) implements MetricsSink {
    private static final Logger LOG = LoggerFactory.getLogger(FlushOnClose.class);

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {}

    @Override
    public void step(StepMetrics metrics) {}

    @Override
    public void evaluation(EvalMetrics metrics) {}

    @Override
    public void event(int step, String kind, String message) {}

    @Override
    public void flush() {
        try {
            question.call();
        } catch (Exception e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_RANK_LOST,
                    "the driver does not answer, so no checkpoint is written: " + e
                            + ". If it is gone, run the same command again",
                    e);
        }
    }

    @Override
    public void close() {
        try {
            question.call();
        } catch (Exception e) {
            LOG.warn("the driver may lack the last metrics: it does not answer ({})", e.toString());
        }
    }
}
