package io.fourfold.optim;

import io.fourfold.config.GradientFormat;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.CodeLayout;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Elements {@code [from, to)} of one kind's flat buffer, summed over the replicas in one operation. Shards stay contiguous
 * parts of the whole buffer, so a bucket has uneven parts of a few ranks; every element is summed in rank order whatever
 * the buckets are, hence with the same bits.
 *
 * <p>{@link #prepare} and {@link #finish} use the backend and belong to the rank's thread; {@link #reduce} and
 * {@link #gather} only move memory and may run on another one.
 */
final class Bucket {
    private final OptimizerShard shard;
    private final long from;
    private final long to;
    private final long[] counts;
    private final boolean whole;
    private final GradientFormat format;
    private @Nullable PackedSum packed;
    private @Nullable TensorScope staging;
    private @Nullable Tensor send;
    private @Nullable Tensor receive;

    /**
     * @param format how gradients travel
     */
    Bucket(OptimizerShard shard, long from, long to, GradientFormat format) {
        this.shard = shard;
        this.from = from;
        this.to = to;
        this.format = format;
        this.whole = from == 0 && to == shard.length() * shard.replicas().size();
        this.counts = new long[shard.replicas().size()];
        for (int rank = 0; rank < counts.length; rank++) {
            long start = Math.max(from, shard.length() * rank);
            long end = Math.min(to, shard.length() * (rank + 1));
            counts[rank] = Math.max(0, end - start);
        }
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
                receive = own(shard.grads());
            }
            case BF16 -> round(backend, gradients);
            case FP8 -> packed = new PackedSum(backend, shard.replicas(), gradients, counts);
        }
    }

    private void round(Backend backend, Tensor gradients) {
        TensorScope scope = backend.scope(Region.WORKSPACE);
        staging = scope;
        Tensor rounded = scope.allocate(DType.BF16, gradients.shape());
        backend.elementwise().copy(gradients, rounded);
        send = rounded;
        receive = scope.allocate(DType.BF16, Shape.flat(counts[shard.replicas().rank()]));
    }

    /** Sums over the replicas; collective. */
    void reduce() {
        if (packed != null) {
            packed.move();
        } else if (whole) {
            shard.replicas().reduceScatter(prepared(send), prepared(receive), ReduceOp.SUM);
        } else {
            shard.replicas().reduceScatterV(prepared(send), prepared(receive), counts, ReduceOp.SUM);
        }
    }

    /** Puts the sums into the shard's gradients. */
    void finish(Backend backend) {
        if (packed != null) {
            try (PackedSum sum = packed) {
                sum.finish(own(shard.grads()));
            }
            packed = null;
            return;
        }
        try (TensorScope scope = staging) {
            Tensor sums = prepared(receive);
            if (scope != null && sums.elements() > 0) {
                backend.elementwise().copy(sums, own(shard.grads()));
            }
        }
        staging = null;
        send = null;
        receive = null;
    }

    /** Brings the bucket's weights, those that products read, from their owners to all replicas; collective. */
    void gather() {
        if (whole) {
            shard.replicas().allGather(shard.gathered(), shard.flatWeights());
            return;
        }
        Tensor all = shard.flatWeights().view(from, Shape.flat(to - from));
        shard.replicas().allGatherV(own(shard.gathered()), all, counts);
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
                parts[rank] = inside.within(shard.length() * rank, shard.length() * (rank + 1))
                        .elements();
            }
            CodeLayout.Range own = inside.within(shard.first(), shard.first() + shard.length());
            replicas.allGatherV(
                    shard.flatWeights().view(own.from(), Shape.flat(own.elements())),
                    shard.flatWeights().view(inside.from(), Shape.flat(inside.elements())),
                    parts);
        }
    }

    /** First element of this rank's part, within its shard. */
    long ownFrom() {
        return Math.min(shard.length(), Math.max(0, from - shard.first()));
    }

    /** This rank's part of a tensor of the shard. */
    private Tensor own(Tensor ofShard) {
        return ofShard.view(ownFrom(), Shape.flat(counts[shard.replicas().rank()]));
    }

    long ownTo() {
        return ownFrom() + counts[shard.replicas().rank()];
    }

    private static Tensor prepared(@Nullable Tensor tensor) {
        if (tensor == null) {
            throw new IllegalStateException("the bucket was not prepared");
        }
        return tensor;
    }
}
