package io.fourfold.model;

import org.jspecify.annotations.Nullable;

/**
 * What a training step tells the layers.
 *
 * @param step training step; part of the random bits of stochastic rounding and what the late switch looks at
 * @param seed the run's seed
 * @param lossScale 1 / (counted labels of the global batch): gradients summed over all micro-batches and ranks are then
 *     those of the mean loss per token
 * @param globalBatchSize samples of the global batch: a micro-batch weighs samples / globalBatchSize in the auxiliary
 *     losses
 * @param telemetry receives quantization statistics; null on steps that are not sampled
 */
public record StepContext(
        int step,
        long seed,
        double lossScale,
        int globalBatchSize,
        @Nullable QuantizationTelemetry telemetry) {
    public StepContext {
        if (globalBatchSize < 1) {
            throw new IllegalArgumentException("globalBatchSize " + globalBatchSize + " must be at least 1");
        }
    }
}
