package io.fourfold.spark;

import io.fourfold.train.TrainingException;
import java.util.Optional;

/** Reads what Spark says when a barrier stage fails as a whole: the reason is inside a message that has traces, too. */
final class StageFailure {
    private static final String MARK = TrainingException.class.getName() + ": ";

    private StageFailure() {}

    /** What a rank said that gave up its task because others did not end; empty when Spark has another reason. */
    static Optional<String> reasonOfRank(Throwable failure) {
        for (Throwable at = failure; at != null; at = at.getCause()) {
            Optional<String> reason = String.valueOf(at.getMessage())
                    .lines()
                    .filter(line -> line.contains(MARK + TrainingException.Code.TRAIN_RANK_LOST))
                    .map(line -> line.substring(line.indexOf(MARK) + MARK.length()))
                    .findFirst();
            if (reason.isPresent()) {
                return reason.map(text -> text.substring(
                        TrainingException.Code.TRAIN_RANK_LOST.name().length() + 2));
            }
        }
        return Optional.empty();
    }

    /** Spark puts the executor's stack trace into its message; it stays in the cause. */
    static String firstLine(Throwable failure) {
        return String.valueOf(failure.getMessage()).lines().findFirst().orElse(failure.toString());
    }
}
