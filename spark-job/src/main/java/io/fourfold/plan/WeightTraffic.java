package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.model.CodeLayout;
import io.fourfold.model.CodeLayouts;
import io.fourfold.model.Parameter;
import io.fourfold.parallel.ParallelMapping;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Bytes of updated weights on their way to the ranks that hold the same parameters. Gathered as they are, every rank sends
 * the same; with codes that depends on what lies in its shard.
 */
final class WeightTraffic {
    private final Map<Parameter.Kind, CodeLayout> layouts;
    private final ParallelMapping mapping;
    private final @Nullable Integer worldRank;

    /**
     * @param worldRank null = the rank that sends the most of each kind
     */
    WeightTraffic(FourfoldConfig config, ParallelMapping mapping, int pipelineRank, @Nullable Integer worldRank) {
        this.layouts = CodeLayouts.of(config, pipelineRank);
        this.mapping = mapping;
        this.worldRank = worldRank;
    }

    /** Whether some of a kind travel as codes. */
    boolean coded(Parameter.Kind kind) {
        return layouts.containsKey(kind);
    }

    /**
     * Sent by the rank.
     *
     * @param plain what it would be without codes
     */
    long sent(Parameter.Kind kind, long plain) {
        CodeLayout layout = layouts.get(kind);
        if (layout == null) {
            return plain;
        }
        if (worldRank != null) {
            return layout.bytesSent(mapping.coordinate(kind.replicas(), worldRank));
        }
        long most = 0;
        for (int rank = 0; rank < mapping.size(kind.replicas()); rank++) {
            most = Math.max(most, layout.bytesSent(rank));
        }
        return most;
    }

    /** Bytes on a device that hold codes, and the largest magnitudes of matrices. */
    static long held(FourfoldConfig config, int pipelineRank) {
        return CodeLayouts.of(config, pipelineRank).values().stream()
                .mapToLong(layout -> Integer.BYTES * (layout.words() + layout.count()))
                .sum();
    }
}
