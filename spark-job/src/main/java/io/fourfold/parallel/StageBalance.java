package io.fourfold.parallel;

import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * Cuts a model's depth so that the slowest stage is as fast as it can be, and among such cuts the stages are as even as
 * they can be. The cost of a block is the number of its weights that one token is multiplied with; the head counts V * H,
 * the embedding nothing. Every stage has a block, except that the last one may have the head alone.
 */
final class StageBalance {
    private final long[] prefix;
    private final long head;
    private final int layers;
    private final int stages;

    private StageBalance(ModelConfig model, int stages) {
        this.layers = model.layers();
        this.stages = stages;
        this.head = (long) model.vocabSize() * model.hiddenSize();
        this.prefix = new long[layers + 1];
        for (int layer = 0; layer < layers; layer++) {
            prefix[layer + 1] = prefix[layer] + blockCost(model, layer);
        }
    }

    /** Blocks of each stage; {@code stages} is at most the number of blocks. */
    static List<Integer> of(ModelConfig model, int stages) {
        if (stages == 1) {
            return List.of(model.layers());
        }
        return new StageBalance(model, stages).cut();
    }

    static long blockCost(ModelConfig model, int layer) {
        long hidden = model.hiddenSize();
        long query = model.attention().queryWidth();
        long cost = hidden * (2 * query + 2L * model.attention().kvWidth());
        MoeConfig moe = model.moe();
        if (moe != null && model.isMoeLayer(layer)) {
            long matrices = moe.activation().inputFactor() + 1;
            long shared = moe.sharedExpert() == null ? 0 : moe.sharedExpert().intermediateSize();
            return cost + hidden * (moe.experts() + matrices * ((long) moe.topK() * moe.intermediateSize() + shared));
        }
        FfnConfig ffn = model.ffn();
        return ffn == null ? cost : cost + hidden * (ffn.activation().inputFactor() + 1) * ffn.intermediateSize();
    }

    /** Cost of stage {@code stage} with blocks {@code [from, to)}. */
    private long cost(int stage, int from, int to) {
        return prefix[to] - prefix[from] + (stage == stages - 1 ? head : 0);
    }

    private List<Integer> cut() {
        return evenest(smallestMaximum());
    }

    private long smallestMaximum() {
        long[] best = new long[layers + 1];
        Arrays.fill(best, Long.MAX_VALUE);
        best[0] = 0;
        for (int stage = 0; stage < stages; stage++) {
            long[] next = new long[layers + 1];
            Arrays.fill(next, Long.MAX_VALUE);
            for (int to = 0; to <= layers; to++) {
                for (int from = 0; from <= to - fewest(stage); from++) {
                    if (best[from] != Long.MAX_VALUE) {
                        next[to] = Math.min(next[to], Math.max(best[from], cost(stage, from, to)));
                    }
                }
            }
            best = next;
        }
        return best[layers];
    }

    /** The cut with the smallest sum of squared costs whose stages all cost at most {@code limit}. */
    private List<Integer> evenest(long limit) {
        double[] best = new double[layers + 1];
        Arrays.fill(best, Double.POSITIVE_INFINITY);
        best[0] = 0;
        int[][] starts = new int[stages][layers + 1];
        for (int stage = 0; stage < stages; stage++) {
            double[] next = new double[layers + 1];
            Arrays.fill(next, Double.POSITIVE_INFINITY);
            for (int to = 0; to <= layers; to++) {
                for (int from = 0; from <= to - fewest(stage); from++) {
                    long cost = cost(stage, from, to);
                    double sum = best[from] + (double) cost * cost;
                    if (cost <= limit && sum < next[to]) {
                        next[to] = sum;
                        starts[stage][to] = from;
                    }
                }
            }
            best = next;
        }
        List<Integer> blocks = new ArrayList<>();
        int end = layers;
        for (int stage = stages - 1; stage >= 0; stage--) {
            blocks.add(end - starts[stage][end]);
            end = starts[stage][end];
        }
        Collections.reverse(blocks);
        return blocks;
    }

    private int fewest(int stage) {
        return stage == stages - 1 ? 0 : 1;
    }
}
