package io.fourfold.plan;

import io.fourfold.config.ConfigException;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.Problem;
import io.fourfold.config.RunConfig;
import io.fourfold.config.VersionLimits;
import java.util.ArrayList;
import java.util.List;

/** Refuses, before any work starts, what this version or this machine cannot train. */
public final class Preflight {
    private Preflight() {}

    /**
     * @throws ConfigException with everything that stands in the way of training this configuration
     */
    public static void check(FourfoldConfig config) {
        RankShare share = RankShare.largest(config);
        List<Problem> obstacles = obstacles(config, share);
        if (!obstacles.isEmpty()) {
            throw new ConfigException(obstacles);
        }
    }

    /**
     * As {@link #check}, and that the ranks which share a process fit into its memory.
     *
     * @param ranksInProcess ranks that are threads of one JVM
     * @param availableBytes what that JVM may allocate
     */
    public static void check(FourfoldConfig config, int ranksInProcess, long availableBytes) {
        check(config);
        Plan plan = Plan.of(config);
        long inHeap = plan.memory().onGpu() ? 0 : plan.memory().total();
        long needed = (inHeap + checkpointCopy(config, plan)) * ranksInProcess;
        if (needed > availableBytes) {
            throw new ConfigException(List.of(tooLarge(plan, ranksInProcess, needed, availableBytes)));
        }
    }

    /** Host memory that an asynchronous save copies to: weights and both moments of the rank's shard. */
    private static long checkpointCopy(FourfoldConfig config, Plan plan) {
        boolean copies =
                config.run().checkpoint().async() && config.run().checkpoint().every() > 0;
        return copies ? plan.memory().optimizer() / 2 * 3 : 0;
    }

    static Problem tooLarge(Plan plan, int ranks, long needed, long available) {
        return Problem.error(
                "",
                "",
                "model " + plan.model() + " needs about " + Quantities.bytes(needed) + " for " + ranks
                        + (ranks == 1 ? " rank" : " ranks") + " in one process, and there are "
                        + Quantities.bytes(available),
                "choose a smaller model, micro_batch_size or sequence_length, spread the ranks over more processes, set"
                        + " run.checkpoint.async to false (it holds a copy of weights and moments), or raise the JVM's"
                        + " heap (-Xmx, FOURFOLD_HEAP, spark.driver.memory)");
    }

    static List<Problem> obstacles(FourfoldConfig config, RankShare share) {
        List<Problem> problems = new ArrayList<>(VersionLimits.problems(config));
        if (config.run().backend() == RunConfig.BackendKind.CUDA) {
            return problems;
        }
        flatBuffer(problems, "dense", share.dense(), "parallel.tensor_parallel_size", "use a smaller model");
        flatBuffer(problems, "expert", share.expert(), "parallel.expert_parallel_size", "raise expert_parallel_size");
        return problems;
    }

    private static void flatBuffer(List<Problem> problems, String kind, long elements, String key, String fix) {
        if (elements > Integer.MAX_VALUE) {
            problems.add(Problem.error(
                    key,
                    "",
                    "a rank would hold " + Quantities.count(elements) + " " + kind
                            + " parameters; one buffer of the CPU backend holds at most 2^31 - 1",
                    fix));
        }
    }
}
