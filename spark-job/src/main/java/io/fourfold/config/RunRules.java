package io.fourfold.config;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Combinations of settings of the run folder, restarts and injected faults. */
final class RunRules {
    private static final String FAULTS = "run.faults";

    private RunRules() {}

    /**
     * @param parallel null when the degrees make no mapping
     */
    static void check(RunConfig run, @Nullable ParallelConfig parallel, List<Problem> problems) {
        RestartConfig restart = run.restart();
        if (parallel != null && restart.minWorldSize() > parallel.worldSize()) {
            problems.add(Problem.error(
                    "run.restart.min_world_size",
                    restart.minWorldSize(),
                    "must not exceed parallel.world_size (" + parallel.worldSize() + ")",
                    "use 0 to never go on with fewer ranks"));
        }
        if (restart.backoffSeconds() > restart.maxBackoffSeconds()) {
            problems.add(Problem.error(
                    "run.restart.backoff_seconds",
                    restart.backoffSeconds(),
                    "must not exceed max_backoff_seconds (" + restart.maxBackoffSeconds() + ")",
                    "raise max_backoff_seconds"));
        }
        faults(run, parallel, problems);
    }

    private static void faults(RunConfig run, @Nullable ParallelConfig parallel, List<Problem> problems) {
        Set<String> seen = new HashSet<>();
        for (String text : run.faults()) {
            try {
                FaultSpec fault = FaultSpec.parse(text);
                if (!seen.add(fault.text())) {
                    problems.add(Problem.error(FAULTS, text, "is given twice", "give it once, with times=2"));
                }
                if (parallel != null && fault.rank() >= parallel.worldSize()) {
                    problems.add(Problem.error(
                            FAULTS,
                            text,
                            "strikes a rank outside parallel.world_size (" + parallel.worldSize() + ")",
                            "use a rank below it"));
                }
            } catch (IllegalArgumentException e) {
                problems.add(Problem.error(
                        FAULTS, text, String.valueOf(e.getMessage()), "write for example 'crash rank=1 step=20'"));
            }
        }
        if (!run.faults().isEmpty()) {
            problems.add(Problem.warning(
                    FAULTS,
                    run.faults().size(),
                    "makes this run fail on purpose",
                    "remove it unless you test what happens then"));
        }
    }
}
