package io.fourfold.cli;

import io.fourfold.bench.RankBenchmark;
import io.fourfold.bench.StepBenchmark;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RunConfig.BackendKind;
import java.util.List;

/** Loads the configurations that {@code bench} will measure, so that nothing runs when one of them cannot be used. */
final class BenchConfigurations {
    private BenchConfigurations() {}

    /**
     * @param mappings of several ranks, in the form of {@link io.fourfold.bench.MappingText}; empty texts with one rank
     * @param settings {@code key=value}
     * @throws io.fourfold.config.ConfigException when a setting or a mapping cannot be used
     * @throws UsageException when a mapping is none, or a setting contradicts an option
     */
    static void check(int ranks, List<String> mappings, List<String> settings, StepBenchmark.Job job, boolean cuda) {
        for (String mapping : mappings) {
            FourfoldConfig config;
            try {
                config = RankBenchmark.config(ranks, mapping, settings, job, cuda);
            } catch (IllegalArgumentException e) {
                throw new UsageException("--mapping: " + e.getMessage());
            }
            if (config.run().backend() != (cuda ? BackendKind.CUDA : BackendKind.CPU)) {
                throw new UsageException("--set run.backend chooses nothing here; use --backend cpu or --backend cuda");
            }
            if (config.parallel().worldSize() != ranks) {
                throw new UsageException("the settings ask for "
                        + config.parallel().worldSize() + " ranks; give their number with --ranks alone");
            }
        }
    }
}
