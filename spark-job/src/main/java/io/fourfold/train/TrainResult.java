package io.fourfold.train;

import java.io.Serializable;
import org.jspecify.annotations.Nullable;

/**
 * How a run ended.
 *
 * @param runFolder where the run's files are
 * @param firstStep steps done before this call (0 unless resumed)
 * @param lastStep steps done in the whole run
 * @param samples samples consumed in the whole run
 * @param tokens tokens consumed in the whole run
 * @param loss training loss of the last step, nats per token; NaN when no step was left to do
 * @param validationLoss last validation loss, nats per token; NaN without validation data
 * @param checkpoint path of the newest checkpoint, or null when none could be written
 * @param checkpointStep its step; -1 when there is none. Less than lastStep when the last save failed
 * @param stopped true when a stop was asked for before the last step
 * @param seconds wall time of this call
 */
public record TrainResult(
        String runFolder,
        int firstStep,
        int lastStep,
        long samples,
        long tokens,
        double loss,
        double validationLoss,
        @Nullable String checkpoint,
        int checkpointStep,
        boolean stopped,
        double seconds)
        implements Serializable {
    private static final long serialVersionUID = 1;

    /** False when the run's end is in no checkpoint: the same command then repeats the steps since the last one. */
    public boolean saved() {
        return checkpointStep >= lastStep;
    }

    /** exp(validation loss); NaN without validation data. */
    public double validationPerplexity() {
        return Math.exp(validationLoss);
    }
}
