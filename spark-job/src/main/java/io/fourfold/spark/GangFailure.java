package io.fourfold.spark;

import io.fourfold.train.TrainingException;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;

/** Makes one error of what the ranks report: the first cause, the others named as its consequences. */
final class GangFailure {
    private GangFailure() {}

    /**
     * @param reports at least one of them a failure
     */
    static TrainingException of(List<RankReport> reports) {
        List<RankReport> failed =
                reports.stream().filter(report -> report.failure() != null).toList();
        RankReport first = failed.stream()
                .min(Comparator.comparing(RankReport::isConsequence)
                        .thenComparingLong(RankReport::millis)
                        .thenComparingInt(RankReport::rank))
                .orElseThrow();
        Throwable cause = Objects.requireNonNull(first.failure());
        TrainingException error = cause instanceof TrainingException training
                ? training
                : new TrainingException(
                        TrainingException.Code.TRAIN_RANK_FAILED,
                        "rank " + first.rank() + " on " + first.host() + " failed: " + describe(cause)
                                + consequences(failed, first),
                        cause);
        for (RankReport other : failed) {
            if (other.rank() != first.rank() && !other.isConsequence() && !sameText(other, cause)) {
                error.addSuppressed(Objects.requireNonNull(other.failure()));
            }
        }
        return error;
    }

    /** Our own errors say what they are; of others the type is worth knowing. */
    private static String describe(Throwable cause) {
        boolean own = cause.getClass().getName().startsWith("io.fourfold.") && cause.getMessage() != null;
        return own ? String.valueOf(cause.getMessage()) : cause.toString();
    }

    private static String consequences(List<RankReport> failed, RankReport first) {
        String ranks = failed.stream()
                .filter(report -> report.rank() != first.rank() && report.isConsequence())
                .map(report -> Integer.toString(report.rank()))
                .collect(Collectors.joining(", "));
        return ranks.isEmpty() ? "" : " (rank " + ranks + " stopped as a consequence)";
    }

    /** Decisions that all ranks take together give the same error on each. */
    private static boolean sameText(RankReport other, Throwable cause) {
        return String.valueOf(Objects.requireNonNull(other.failure()).getMessage())
                .equals(String.valueOf(cause.getMessage()));
    }
}
