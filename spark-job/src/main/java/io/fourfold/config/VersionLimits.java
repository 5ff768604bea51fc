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

    /** Why this version's CUDA backend cannot train the configuration; {@code run.backend: auto} then takes the CPU. */
    public static List<Problem> cudaProblems(FourfoldConfig config) {
        List<Problem> problems = new ArrayList<>();
        RecipeConfig.Kind recipe = config.recipe().kind();
        if (recipe == RecipeConfig.Kind.FP8 && config.recipe().fp8Scaling() != RecipeConfig.Fp8Scaling.TENSOR) {
            problems.add(Problem.error(
                    "recipe.fp8_scaling",
                    config.recipe().fp8Scaling().name().toLowerCase(Locale.ROOT),
                    "FP8 with scales per block on a GPU" + SUFFIX,
                    "set it to tensor (current scaling), or run.backend to cpu"));
        }
        return problems;
    }
}
