package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.moe.ExpertLoad;
import io.fourfold.moe.RouterReport;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One FP32 device vector for everything a training micro-batch reports, so that the host reads it in one copy when it
 * wants to: the token losses [T], then for each MoE layer counts [groups, E], score sums [groups, E], the z sum and the
 * kept slots.
 */
final class MicroBatchReport {
    private final Tensor values;
    private final int tokens;
    private final int moeLayers;
    private final int groups;
    private final int experts;
    private final @Nullable ExpertLoad load;

    MicroBatchReport(TensorScope scope, int tokens, int moeLayers, int groups, int experts, @Nullable ExpertLoad load) {
        this.tokens = tokens;
        this.moeLayers = moeLayers;
        this.groups = groups;
        this.experts = experts;
        this.load = load;
        this.values = scope.zeros(DType.FP32, tokens + moeLayers * layerSize());
    }

    /** A report of the same kind, empty. */
    MicroBatchReport another(TensorScope scope) {
        return new MicroBatchReport(scope, tokens, moeLayers, groups, experts, load);
    }

    private int layerSize() {
        return 2 * groups * experts + 2;
    }

    private int layerStart(int moeIndex) {
        return tokens + moeIndex * layerSize();
    }

    /** Everything, in the order of the class comment. */
    Tensor values() {
        return values;
    }

    /** FP32 [T]. */
    Tensor lossPerToken() {
        return values.view(0, Shape.of(tokens));
    }

    /**
     * @param moeIndex 0-based among the MoE layers
     */
    RouterReport layer(int moeIndex) {
        if (load == null || moeIndex >= moeLayers) {
            throw new IllegalArgumentException("no MoE layer " + moeIndex + " among " + moeLayers);
        }
        long start = layerStart(moeIndex);
        int groupSize = groups * experts;
        return new RouterReport(
                values.view(start, Shape.of(groups, experts)),
                values.view(start + groupSize, Shape.of(groups, experts)),
                values.view(start + 2L * groupSize, Shape.of(1)),
                values.view(start + 2L * groupSize + 1, Shape.of(1)),
                load.stepCounts(moeIndex));
    }

    /** What the vector holds, on the host. */
    HostReport download(Backend backend) {
        return new HostReport(backend.download(values), tokens, groups, experts);
    }

    /** The downloaded vector. */
    record HostReport(float[] values, int tokens, int groups, int experts) {
        double lossSum() {
            double sum = 0;
            for (int t = 0; t < tokens; t++) {
                sum += values[t];
            }
            return sum;
        }

        float[] counts(int moeIndex) {
            return slice(start(moeIndex), groups * experts);
        }

        float[] scoreSums(int moeIndex) {
            return slice(start(moeIndex) + groups * experts, groups * experts);
        }

        float zSum(int moeIndex) {
            return values[start(moeIndex) + 2 * groups * experts];
        }

        long keptSlots(int moeIndex) {
            return Math.round((double) values[start(moeIndex) + 2 * groups * experts + 1]);
        }

        private int start(int moeIndex) {
            return tokens + moeIndex * (2 * groups * experts + 2);
        }

        private float[] slice(int from, int count) {
            return Arrays.copyOfRange(values, from, from + count);
        }
    }
}
