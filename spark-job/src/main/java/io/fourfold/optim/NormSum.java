package io.fourfold.optim;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.numeric.ExactSum;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.GradientSquares;
import io.fourfold.model.Parameter;
import io.fourfold.parallel.FixedOrderSums;
import java.util.Collection;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The gradient norm from the shards of all ranks: an exact sum of the squares of groups of elements, each counted once, so
 * that it does not depend on which rank has which.
 */
final class NormSum {
    private final Backend backend;
    private final ExactSum sum = new ExactSum();
    private @Nullable String nonFinite;

    private NormSum(Backend backend) {
        this.backend = backend;
    }

    /** Collective over the world. */
    static GradientNorm of(Backend backend, Collection<OptimizerShard> shards, Communicator world) {
        NormSum own = new NormSum(backend);
        own.addRead(
                shards.stream().filter(shard -> shard.knownSquares() == null).toList());
        for (OptimizerShard shard : shards) {
            GradientSquares known = shard.knownSquares();
            if (known != null) {
                own.addKnown(known);
            }
        }
        // Whole numbers below 2^53: no order rounds their sums.
        double[] words = FixedOrderSums.sum(backend, world, own.sum.words());
        return new GradientNorm(Math.sqrt(ExactSum.of(words).value()), own.nonFinite);
    }

    /** Shards whose gradients are read. */
    private void addRead(Collection<OptimizerShard> shards) {
        int segments = shards.stream().mapToInt(OptimizerShard::segments).sum();
        if (segments == 0) {
            return;
        }
        int[] host;
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor sums = scope.allocate(DType.INT32, segments * ExactSum.INTS);
            int at = 0;
            for (OptimizerShard shard : shards) {
                if (shard.segments() > 0) {
                    shard.sumSquares(sums.view((long) at * ExactSum.INTS, Shape.of(shard.segments() * ExactSum.INTS)));
                    at += shard.segments();
                }
            }
            host = backend.downloadInts(sums);
        }
        int at = 0;
        for (OptimizerShard shard : shards) {
            for (int i = 0; i < shard.segments(); i++, at++) {
                Parameter parameter = shard.parameter(i);
                if (!parameter.copy()) { // its gradient is counted elsewhere
                    add(parameter.name(), ExactSum.of(host, at * ExactSum.INTS));
                }
            }
        }
    }

    private void addKnown(GradientSquares known) {
        float[] squares = backend.download(Objects.requireNonNull(known.all()));
        for (Map.Entry<String, Double> parameter : known.ofParameters(squares).entrySet()) {
            ExactSum of = new ExactSum();
            of.add(parameter.getValue());
            add(parameter.getKey(), of);
        }
    }

    private void add(String parameter, ExactSum squares) {
        if (nonFinite == null && !squares.isFinite()) {
            nonFinite = parameter;
        }
        sum.add(squares);
    }
}
