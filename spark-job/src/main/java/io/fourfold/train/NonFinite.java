package io.fourfold.train;

import io.fourfold.data.Batch;
import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.model.NonFiniteReport;
import io.fourfold.model.StepContext;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Finds where a NaN or an infinity came from, together on all ranks, and makes the error that ends the run. */
final class NonFinite {
    private final TrainableModel model;
    private final WorldAgreement agreement;
    private final MetricsSink sink;

    NonFinite(TrainableModel model, WorldAgreement agreement, MetricsSink sink) {
        this.model = model;
        this.agreement = agreement;
        this.sink = sink;
    }

    /**
     * Collective.
     *
     * @param what loss or gradient norm, with its value
     * @param hint what this rank knows already, or null
     * @param lastCheckpoint where to continue from, or null
     */
    TrainingException locate(
            String what,
            @Nullable String hint,
            List<Batch> batches,
            StepContext step,
            @Nullable String lastCheckpoint) {
        String place = null;
        for (int i = 0; i < batches.size() && place == null; i++) {
            NonFiniteReport report = model.locate(batches.get(i), step).orElse(null);
            place = earliest(report, i);
        }
        String known = agreement.firstFailure(hint == null ? null : "rank " + agreement.rank() + ": " + hint);
        String where = place != null
                ? place
                : known != null ? known : "no single tensor found: the sum over micro-batches or ranks overflowed";
        String message = what + " at step " + step.step() + ". " + where
                + ". The optimizer step was not applied. "
                + (lastCheckpoint == null
                        ? "There is no checkpoint yet."
                        : "The last checkpoint is kept: " + lastCheckpoint + ".")
                + " Lower train.optimizer.learning_rate or its clip_norm, or keep more blocks in BF16"
                + " (recipe.high_precision), then run the same command to continue.";
        sink.event(step.step(), EventKind.NON_FINITE, message);
        return new TrainingException(TrainingException.Code.TRAIN_NON_FINITE, message);
    }

    /** Where the bad value came from: what was computed first among all ranks' findings, or null. */
    private @Nullable String earliest(@Nullable NonFiniteReport mine, int microBatch) {
        List<String> found = agreement.gather(mine == null ? "" : encode(mine));
        NonFiniteReport first = null;
        int rank = 0;
        for (int i = 0; i < found.size(); i++) {
            NonFiniteReport report = found.get(i).isEmpty() ? null : decode(found.get(i));
            if (report != null && (first == null || report.compareTo(first) < 0)) {
                first = report;
                rank = i;
            }
        }
        return first == null ? null : "rank " + rank + ", micro-batch " + microBatch + ": " + first;
    }

    private static String encode(NonFiniteReport report) {
        return String.join(
                "\t",
                report.stage(),
                Integer.toString(report.layer()),
                report.tensor(),
                Long.toString(report.element()),
                Float.toString(report.value()));
    }

    private static NonFiniteReport decode(String text) {
        String[] fields = text.split("\t", -1);
        return new NonFiniteReport(
                fields[0],
                Integer.parseInt(fields[1]),
                fields[2],
                Long.parseLong(fields[3]),
                Float.parseFloat(fields[4]));
    }
}
