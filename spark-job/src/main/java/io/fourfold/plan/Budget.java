package io.fourfold.plan;

import io.fourfold.config.TrainConfig;
import io.fourfold.parallel.ParallelMapping;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/**
 * How much a run trains on.
 *
 * @param steps optimizer steps
 * @param tokensPerStep over all ranks
 * @param microBatchesPerStep forward passes of one rank in a step
 * @param tokens in the whole run
 * @param datasetTokens tokens of the prepared training data; null before preparation
 * @param epochs tokens / datasetTokens; null before preparation
 */
public record Budget(
        int steps,
        long tokensPerStep,
        int microBatchesPerStep,
        long tokens,
        @Nullable Long datasetTokens,
        @Nullable Double epochs) {

    static Budget of(TrainConfig train, ParallelMapping mapping, OptionalLong datasetTokens) {
        long perStep = (long) train.globalBatchSize() * train.sequenceLength();
        long tokens = perStep * train.steps();
        boolean known = datasetTokens.isPresent() && datasetTokens.getAsLong() > 0;
        return new Budget(
                train.steps(),
                perStep,
                train.globalBatchSize() / mapping.data() / train.microBatchSize(),
                tokens,
                known ? (Long) datasetTokens.getAsLong() : null,
                known ? (Double) ((double) tokens / datasetTokens.getAsLong()) : null);
    }
}
