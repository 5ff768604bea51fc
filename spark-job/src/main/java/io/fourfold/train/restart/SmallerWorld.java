package io.fourfold.train.restart;

import io.fourfold.config.ConfigException;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FaultSpec;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.config.VersionLimits;
import java.util.List;
import java.util.OptionalInt;
import java.util.stream.Collectors;

/**
 * The worlds that a configuration can be trained with: all degrees but data parallelism stay as they are, and the global
 * batch still splits over the data parallel ranks.
 */
public final class SmallerWorld {
    private SmallerWorld() {}

    /**
     * The largest such world.
     *
     * @param atMost ranks that can run
     * @param atLeast fewest ranks allowed, at least 1
     */
    public static OptionalInt largest(FourfoldConfig config, int atMost, int atLeast) {
        for (int ranks = atMost; ranks >= Math.max(1, atLeast); ranks--) {
            if (fits(config, ranks)) {
                return OptionalInt.of(ranks);
            }
        }
        return OptionalInt.empty();
    }

    private static boolean fits(FourfoldConfig config, int ranks) {
        try {
            return VersionLimits.problems(with(config, ranks)).isEmpty();
        } catch (ConfigException e) {
            return false;
        }
    }

    /**
     * The same run with another number of ranks, continuing from its own checkpoints. Faults to inject into ranks that are
     * gone are gone, too.
     *
     * @throws ConfigException when that many ranks do not fit
     */
    public static FourfoldConfig with(FourfoldConfig config, int ranks) {
        String faults = config.run().faults().stream()
                .filter(fault -> FaultSpec.parse(fault).rank() < ranks)
                .map(fault -> '"' + fault + '"')
                .collect(Collectors.joining(", "));
        int least = Math.min(ranks, config.run().restart().minWorldSize());
        return changed(
                config,
                List.of(
                        "parallel.world_size=" + ranks,
                        "run.restart.min_world_size=" + least,
                        "run.faults=[" + faults + "]"));
    }

    /** The configuration of an attempt. A restart continues, also where the run itself was to start afresh. */
    public static FourfoldConfig of(FourfoldConfig config, Attempt attempt) {
        FourfoldConfig sized =
                attempt.worldSize() == config.parallel().worldSize() ? config : with(config, attempt.worldSize());
        return attempt.isRestart() && !config.run().checkpoint().resume()
                ? changed(sized, List.of("run.checkpoint.resume=true"))
                : sized;
    }

    private static FourfoldConfig changed(FourfoldConfig config, List<String> sets) {
        return ConfigLoader.parse(
                        "the run's configuration", ResolvedConfig.of(config).yaml(), sets)
                .config();
    }
}
