package io.fourfold.metrics;

import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/**
 * What a run folder's metrics.jsonl says, with superseded lines left out.
 *
 * @param facts of the newest attempt, in display order
 * @param totalSteps planned steps, 0 when no attempt has started
 * @param steps ascending, one record a step
 * @param evaluations ascending by step
 * @param events in the order they were written, over all attempts
 * @param starts the attempts, the first one first
 * @param ranks where the ranks were last, by rank; empty when nobody watched them
 * @param supersededLines step and evaluation lines of earlier attempts that a later attempt replaced
 * @param damagedLines lines that are not valid records, for instance one cut off by a kill
 * @param started time of the first start, absent in an empty file
 * @param updated time of the newest line
 */
public record RunHistory(
        Map<String, String> facts,
        int totalSteps,
        List<StepMetrics> steps,
        List<EvalMetrics> evaluations,
        List<RunEvent> events,
        List<RunStart> starts,
        List<RankBeat> ranks,
        int supersededLines,
        int damagedLines,
        @Nullable Instant started,
        @Nullable Instant updated) {

    /** A history with nothing in it: the run folder has no metrics yet. */
    public static final RunHistory EMPTY =
            new RunHistory(Map.of(), 0, List.of(), List.of(), List.of(), List.of(), List.of(), 0, 0, null, null);

    /** How often the run was started. */
    public int attempts() {
        return starts.size();
    }

    /** Whether every planned step was run. */
    public boolean complete() {
        return totalSteps > 0 && lastStep() >= totalSteps;
    }

    /** The newest step, 0 when there is none. */
    public int lastStep() {
        return steps.isEmpty() ? 0 : steps.get(steps.size() - 1).step();
    }

    /** Tokens consumed when {@code step} was done; empty when that step has no line. Step 0 is 0 tokens. */
    public OptionalLong tokensAt(int step) {
        if (step == 0) {
            return OptionalLong.of(0);
        }
        int low = 0;
        int high = steps.size() - 1;
        while (low <= high) {
            int middle = (low + high) >>> 1;
            StepMetrics metrics = steps.get(middle);
            if (metrics.step() == step) {
                return OptionalLong.of(metrics.tokens());
            }
            if (metrics.step() < step) {
                low = middle + 1;
            } else {
                high = middle - 1;
            }
        }
        return OptionalLong.empty();
    }
}
