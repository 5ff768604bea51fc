package io.fourfold.config;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

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
        if (config.run().backend() == RunConfig.BackendKind.CUDA) {
            problems.addAll(cudaProblems(config));
        }
        return problems;
    }

    /** Several GPUs train by data parallelism only. Why this version's CUDA backend cannot train the configuration; {@code run.backend: auto} then takes the CPU. */
    public static List<Problem> cudaProblems(FourfoldConfig config) {
        List<Problem> problems = new ArrayList<>();
        ParallelConfig parallel = config.parallel();
        cpuOnly(problems, "tensor_parallel_size", parallel.tensorParallelSize(), "tensor parallelism");
        cpuOnly(problems, "context_parallel_size", parallel.contextParallelSize(), "context parallelism");
        if (parallel.contextParallelSize() > 1 && parallel.contextExchange() == ContextExchange.RING) {
            problems.add(Problem.error(
                    "parallel.context_exchange",
                    "ring",
                    "ring attention on GPUs" + SUFFIX,
                    "set it to gather, or run.backend to cpu"));
        }
        cpuOnly(problems, "pipeline_parallel_size", parallel.pipelineParallelSize(), "pipeline parallelism");
        cpuOnly(problems, "virtual_stages", parallel.virtualStages(), "interleaved pipeline parallelism");
        cpuOnly(problems, "expert_parallel_size", parallel.expertParallelSize(), "expert parallelism");
        cpuOnly(
                problems,
                "expert_tensor_parallel_size",
                parallel.expertTensorParallelSize(),
                "expert tensor parallelism");
        RecipeConfig.Kind recipe = config.recipe().kind();
        if (recipe == RecipeConfig.Kind.MXFP4) {
            problems.add(Problem.error(
                    "recipe.kind",
                    recipe.name().toLowerCase(Locale.ROOT),
                    "this recipe on a GPU" + SUFFIX + " (fp32, bf16, fp8 and nvfp4 are)",
                    "choose one of those, or set run.backend to cpu"));
        }
        if (config.recipe().dispatch() != RecipeConfig.Dispatch.EXACT) {
            problems.add(Problem.error(
                    "recipe.dispatch",
                    config.recipe().dispatch().name().toLowerCase(Locale.ROOT),
                    "packed rows on a GPU" + SUFFIX,
                    "set it to exact, or run.backend to cpu"));
        }
        return problems;
    }

    private static void cpuOnly(List<Problem> problems, String key, int value, String what) {
        if (value > 1) {
            problems.add(Problem.error(
                    "parallel." + key, value, what + " on GPUs" + SUFFIX, "set it to 1, or run.backend to cpu"));
        }
    }
}
