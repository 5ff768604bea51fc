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
        boolean stopped,
        double seconds)
        implements Serializable {
    private static final long serialVersionUID = 1;

    /** exp(validation loss); NaN without validation data. */
    public double validationPerplexity() {
        return Math.exp(validationLoss);
    }
}
