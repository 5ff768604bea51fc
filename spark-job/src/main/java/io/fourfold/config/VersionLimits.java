package io.fourfold.config;

import java.util.ArrayList;
import java.util.List;

/**
 * What a sound configuration may ask for and this version cannot train yet. Planning such a configuration is allowed, so
 * that large runs can be laid out; training it is refused before any work.
 */
public final class VersionLimits {
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
        return List.of();
    }
}
