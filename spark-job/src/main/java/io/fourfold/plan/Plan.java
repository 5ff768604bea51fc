package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.Problem;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.parallel.ParallelMapping;
import java.util.List;
import java.util.OptionalLong;

/**
 * What a configuration means, computed without touching data or devices.
 *
 * @param configSha256 hash of the resolved configuration, see {@link ResolvedConfig}
 * @param model its name
 * @param sequenceLength tokens a sample
 * @param parameters counts over the whole model
 * @param flopsPerToken model FLOPs of training one token
 * @param flops of the whole run, causal count
 * @param precision what stays in high precision
 * @param ranks ranks and groups
 * @param rankParameters trained elements on the fullest rank
 * @param memory bytes on the fullest rank
 * @param budget steps, tokens, epochs
 * @param traffic bytes one rank sends in a step, by axis
 * @param obstacles why this version cannot train it; empty when it can
 */
public record Plan(
        String configSha256,
        String model,
        int sequenceLength,
        ParameterCount parameters,
        FlopCount flopsPerToken,
        double flops,
        Precision precision,
        RankLayout ranks,
        long rankParameters,
        MemoryEstimate memory,
        Budget budget,
        List<Traffic> traffic,
        List<Problem> obstacles) {
    /** GPUs in one host where nothing else is known. */
    public static final int DEFAULT_RANKS_PER_HOST = 8;

    public Plan {
        traffic = List.copyOf(traffic);
        obstacles = List.copyOf(obstacles);
    }

    /**
     * @throws io.fourfold.config.ConfigException when the degrees make no mapping
     */
    public static Plan of(FourfoldConfig config) {
        return of(config, DEFAULT_RANKS_PER_HOST, OptionalLong.empty());
    }

    /**
     * @param ranksPerHost consecutive ranks on one host
     * @param datasetTokens tokens of the prepared training data, if known
     */
    public static Plan of(FourfoldConfig config, int ranksPerHost, OptionalLong datasetTokens) {
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        RankShare share = fullest(config, mapping);
        FlopCount flops = FlopCount.of(config.model(), config.train().sequenceLength());
        Budget budget = Budget.of(config.train(), mapping, datasetTokens);
        return new Plan(
                ResolvedConfig.of(config).sha256(),
                config.model().name(),
                config.train().sequenceLength(),
                ParameterCount.of(config.model()),
                flops,
                (double) flops.causal() * budget.tokens(),
                Precision.of(config),
                RankLayout.of(mapping, ranksPerHost),
                share.parameters(),
                MemoryEstimate.of(config, mapping, share),
                budget,
                Traffic.of(config, mapping, share),
                Preflight.obstacles(config, RankShare.largest(config)));
    }

    /** Of the pipeline rank that needs the most memory: the first ones hold more micro-batches, the last one the head. */
    private static RankShare fullest(FourfoldConfig config, ParallelMapping mapping) {
        RankShare fullest = RankShare.of(config, 0);
        long most = MemoryEstimate.of(config, mapping, fullest).total();
        for (int rank = 1; rank < mapping.pipeline(); rank++) {
            RankShare share = RankShare.of(config, rank);
            long bytes = MemoryEstimate.of(config, mapping, share).total();
            if (bytes > most) {
                fullest = share;
                most = bytes;
            }
        }
        return fullest;
    }
}
