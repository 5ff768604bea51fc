package io.fourfold.optim;

import io.fourfold.config.GradientFormat;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.CodeLayout;
import io.fourfold.model.Sharding;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One bucket of a kind's flat buffer ({@link Sharding}), summed over the replicas in one operation: each has an equal slice
 * of it. Every element is summed in rank order whatever the buckets are, but for
 * FP32 sums that NCCL takes over more than two ranks.
 *
 * <p>{@link #prepare} and {@link #finish} use the backend and belong to the rank's thread; {@link #reduce} and
 * {@link #gather} only move memory and may run on another one.
 */
final class Bucket {
    private final OptimizerShard shard;
    private final int index;
    private final long from;
    private final long to;
    private final Sharding.Slice own;
    private final GradientFormat format;
    private @Nullable PackedSum packed;
    private @Nullable TensorScope staging;
    private @Nullable Tensor send;
    private @Nullable Tensor receive;

    /**
     * @param index among the buckets of the shard's kind
     * @param format how gradients travel
     */
    Bucket(OptimizerShard shard, int index, GradientFormat format) {
        this.shard = shard;
        this.index = index;
        this.format = format;
        from = shard.sharding().from(index);
        to = shard.sharding().to(index);
        own = shard.slice(index);
    }

    int index() {
        return index;
    }

    OptimizerShard shard() {
        return shard;
    }

    /** Makes what travels. */
    void prepare(Backend backend) {
        Tensor gradients = shard.flatGrads().view(from, Shape.flat(to - from));
        switch (format) {
            case FP32 -> {
                send = gradients;
                receive = ownGrads();
            }
            case BF16 -> round(backend, gradients);
            case FP8 -> packed = new PackedSum(backend, shard.replicas(), gradients);
        }
    }

    private void round(Backend backend, Tensor gradients) {
        TensorScope scope = backend.scope(Region.WORKSPACE);
        staging = scope;
        Tensor rounded = scope.allocate(DType.BF16, gradients.shape());
        backend.elementwise().copy(gradients, rounded);
        send = rounded;
        receive = scope.allocate(DType.BF16, Shape.flat(own.elements()));
    }

    /** Sums over the replicas; collective. */
    void reduce() {
        if (packed != null) {
            packed.move();
        } else {
            shard.replicas().reduceScatter(prepared(send), prepared(receive), ReduceOp.SUM);
        }
    }

    /** Starts the same beside the rank's work; what is sent is not needed afterwards. */
    Pending start() {
        return packed != null
                ? shard.replicas().start(packed::move)
                : shard.replicas().startConsumingReduceScatter(prepared(send), prepared(receive), ReduceOp.SUM);
    }

    /** Puts the sums into the shard's gradients. */
    void finish(Backend backend) {
        if (packed != null) {
            try (PackedSum sum = packed) {
                sum.finish(ownGrads());
            }
            packed = null;
            return;
        }
        try (TensorScope scope = staging) {
            Tensor sums = prepared(receive);
            if (scope != null && sums.elements() > 0) {
                backend.elementwise().copy(sums, ownGrads());
            }
        }
        staging = null;
        send = null;
        receive = null;
    }

    /** Brings the bucket's weights, those that products read, from their owners to all replicas; collective. */
    void gather() {
        shard.gather(index);
    }

    /** The same of nothing but some ranges of the flat buffer; collective. */
    void gather(List<CodeLayout.Range> ranges) {
        Communicator replicas = shard.replicas();
        for (CodeLayout.Range range : ranges) {
            CodeLayout.Range inside = range.within(from, to);
            if (inside.elements() == 0) {
                continue;
            }
            long[] parts = new long[replicas.size()];
            for (int rank = 0; rank < parts.length; rank++) {
                Sharding.Slice slice = shard.sharding().slice(index, rank);
                parts[rank] = inside.within(slice.from(), slice.to()).elements();
            }
            CodeLayout.Range sent = inside.within(own.from(), own.to());
            replicas.allGatherV(
                    shard.flatWeights().view(sent.from(), Shape.flat(sent.elements())),
                    shard.flatWeights().view(inside.from(), Shape.flat(inside.elements())),
                    parts);
        }
    }

    private Tensor ownGrads() {
        return shard.grads().view(own.at(), Shape.flat(own.elements()));
    }

    private static Tensor prepared(@Nullable Tensor tensor) {
        if (tensor == null) {
            throw new IllegalStateException("the bucket was not prepared");
        }
        return tensor;
    }
}
