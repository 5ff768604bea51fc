package io.fourfold.bench;

import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.util.Arrays;
import java.util.List;

/** How evenly the router fills the ranks among which experts are divided; all of them wait for the fullest. */
final class RankLoad {
    private RankLoad() {}

    /**
     * Tokens of the fullest rank over the mean of the ranks, averaged over the layers with experts.
     *
     * @param expertParallelSize ranks, each with as many experts that follow each other
     * @return 1 for even ranks, up to the number of ranks; NaN without experts
     */
    static double fullest(List<LayerLoad> layers, int expertParallelSize) {
        return layers.stream()
                .filter(layer -> Arrays.stream(layer.tokens()).anyMatch(count -> count > 0))
                .mapToDouble(layer -> fullest(layer.tokens(), expertParallelSize))
                .average()
                .orElse(Double.NaN);
    }

    private static double fullest(int[] tokens, int ranks) {
        int experts = tokens.length / ranks;
        long largest = 0;
        long sum = 0;
        for (int rank = 0; rank < ranks; rank++) {
            long mine = 0;
            for (int i = 0; i < experts; i++) {
                mine += tokens[rank * experts + i];
            }
            largest = Math.max(largest, mine);
            sum += mine;
        }
        return (double) largest * ranks / sum;
    }
}
