package io.fourfold.spark;

import io.fourfold.config.FailureReason;
import io.fourfold.train.TrainingException;
import io.fourfold.train.restart.AttemptException;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Makes one error of what the ranks report and Spark says: the first cause, the others named as its consequences. A rank
 * that says what went wrong comes first; then an executor that Spark lost, or a rank that does not end.
 */
final class GangFailure {
    private static final Pattern BARRIER_TASK = Pattern.compile("(?:ResultTask|ShuffleMapTask)\\(\\d+, (\\d+)\\)");

    private GangFailure() {}

    /**
     * @param reports of the tasks that ended, by partition
     * @param tasks how many tasks there were
     * @param aborted how Spark ended the job, null when all tasks ended by themselves
     */
    static AttemptException of(
            Map<Integer, RankReport> reports, int tasks, GangTasks places, @Nullable Exception aborted) {
        List<RankReport> failed = failed(reports.values());
        Map.Entry<Integer, RankReport> first = reports.entrySet().stream()
                .filter(entry -> entry.getValue().failure() != null)
                .min(Map.Entry.comparingByValue(order()))
                .orElse(null);
        if (first != null && !first.getValue().isConsequence()) {
            GangTasks.Place place = places.of(first.getKey());
            return new AttemptException(of(failed, first.getValue()), place == null ? null : place.host());
        }
        if (aborted != null && !isCancelled(aborted)) {
            return lost(aborted, failed, places);
        }
        if (first != null) {
            return new AttemptException(of(failed, first.getValue()), null);
        }
        return new AttemptException(
                new TrainingException(
                        TrainingException.Code.TRAIN_LAUNCH,
                        "the barrier stage of " + tasks + " ranks did not finish: "
                                + StageFailure.firstLine(Objects.requireNonNull(aborted))
                                + ". Run the same command to continue from the last checkpoint.",
                        Objects.requireNonNull(aborted)),
                null);
    }

    private static List<RankReport> failed(Collection<RankReport> reports) {
        return reports.stream().filter(report -> report.failure() != null).toList();
    }

    private static Comparator<RankReport> order() {
        return Comparator.comparing(RankReport::isConsequence)
                .thenComparingLong(RankReport::millis)
                .thenComparingInt(RankReport::rank);
    }

    /** What a rank said. */
    private static TrainingException of(List<RankReport> failed, RankReport first) {
        Throwable cause = Objects.requireNonNull(first.failure());
        TrainingException error = cause instanceof TrainingException training
                ? training
                : new TrainingException(
                        TrainingException.Code.TRAIN_RANK_FAILED,
                        "rank " + first.rank() + " on " + first.host() + " failed: " + FailureReason.of(cause)
                                + consequences(failed, first),
                        cause);
        for (RankReport other : failed) {
            if (other.rank() != first.rank() && !other.isConsequence() && !sameText(other, cause)) {
                error.addSuppressed(Objects.requireNonNull(other.failure()));
            }
        }
        return error;
    }

    /** A task that ended without a report: its executor is gone, or it failed before it could say anything. */
    private static AttemptException lost(Exception aborted, List<RankReport> failed, GangTasks places) {
        Optional<String> stuck = StageFailure.reasonOfRank(aborted);
        if (stuck.isPresent()) {
            return new AttemptException(
                    new TrainingException(TrainingException.Code.TRAIN_RANK_LOST, stuck.get(), aborted), null);
        }
        String text = String.valueOf(aborted.getMessage());
        Matcher matcher = BARRIER_TASK.matcher(text);
        GangTasks.Place place = matcher.find() ? places.of(Integer.parseInt(matcher.group(1))) : null;
        String reason = text.lines()
                .filter(line -> line.contains("ExecutorLostFailure"))
                .findFirst()
                .map(line -> line.replaceFirst(".*Reason: ", ""))
                .orElseGet(() -> secondLine(text));
        String message = (place == null ? "an executor" : place.toString()) + " was lost: " + reason
                + consequences(failed, null) + ". Its log may say more: out of memory, a native crash, a lost machine";
        return new AttemptException(
                new TrainingException(TrainingException.Code.TRAIN_RANK_LOST, message, aborted),
                place == null ? null : place.host());
    }

    /** Cancelled by a user, not aborted because a task failed. */
    private static boolean isCancelled(Exception aborted) {
        return String.valueOf(aborted.getMessage()).contains("cancelled");
    }

    /** Our own errors say what they are; of others the type is worth knowing. */
    private static String consequences(List<RankReport> failed, @Nullable RankReport first) {
        String ranks = failed.stream()
                .filter(report -> (first == null || report.rank() != first.rank()) && report.isConsequence())
                .map(report -> Integer.toString(report.rank()))
                .collect(Collectors.joining(", "));
        return ranks.isEmpty() ? "" : " (rank " + ranks + " stopped as a consequence)";
    }

    /** Decisions that all ranks take together give the same error on each. */
    private static boolean sameText(RankReport other, Throwable cause) {
        return String.valueOf(Objects.requireNonNull(other.failure()).getMessage())
                .equals(String.valueOf(cause.getMessage()));
    }

    private static String secondLine(String text) {
        return text.lines().skip(1).findFirst().orElse(text.lines().findFirst().orElse(text));
    }
}
