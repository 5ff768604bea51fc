package io.fourfold.config;

import java.util.ArrayList;
import java.util.List;

/**
 * What a sound configuration may ask for and this version cannot train yet. Planning such a configuration is allowed, so
 * that large runs can be laid out; training it is refused before any work.
 */
public final class VersionLimits {
    private static final String SUFFIX = " is not implemented yet in this version";

    private VersionLimits() {}

    /** Empty when this version can train the configuration. */
    public static List<Problem> problems(FourfoldConfig config) {
        List<Problem> problems = new ArrayList<>();
        ParallelConfig parallel = config.parallel();
        degree(problems, "tensor_parallel_size", parallel.tensorParallelSize(), "tensor parallelism");
        degree(problems, "context_parallel_size", parallel.contextParallelSize(), "context parallelism");
        degree(problems, "pipeline_parallel_size", parallel.pipelineParallelSize(), "pipeline parallelism");
        degree(
                problems,
                "expert_tensor_parallel_size",
                parallel.expertTensorParallelSize(),
                "expert tensor parallelism");
        degree(problems, "virtual_stages", parallel.virtualStages(), "interleaved pipeline parallelism");
        return problems;
    }

    private static void degree(List<Problem> problems, String key, int value, String what) {
        if (value > 1) {
            problems.add(Problem.error(
                    "parallel." + key,
                    value,
                    what + SUFFIX + " (data and expert parallelism are)",
                    "set it to 1 for training; 'fourfold plan' works with any degrees"));
        }
    }
}
