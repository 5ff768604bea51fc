package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The FP32 master weights of one kind. Plain masters are one FP32 buffer. Split masters are a BF16 buffer, which products
 * read and every rank has whole, and the 16-bit remainders of the shard whose optimizer state this rank keeps: together
 * exactly the FP32 numbers, in four bytes instead of the six of a master and a BF16 copy.
 */
public final class MasterWeights {
    private final Tensor weights;
    private final @Nullable Tensor remainder;
    private final List<Sharding.Slice> own;

    private MasterWeights(Tensor weights, @Nullable Tensor remainder, List<Sharding.Slice> own) {
        this.weights = weights;
        this.remainder = remainder;
        this.own = own;
    }

    /** Zeros. */
    static MasterWeights plain(long elements, TensorScope scope) {
        return new MasterWeights(scope.zeros(DType.FP32, Shape.flat(elements)), null, List.of());
    }

    /**
     * Zeros.
     *
     * @param sharding of the optimizer
     * @param rank whose remainders are kept
     */
    static MasterWeights split(Sharding sharding, int rank, TensorScope scope) {
        return new MasterWeights(
                scope.zeros(DType.BF16, Shape.flat(sharding.elements())),
                scope.zeros(DType.INT16, Shape.flat(sharding.shard())),
                sharding.slices(rank));
    }

    /** The whole buffer: FP32, or BF16 when the masters are split. */
    Tensor weights() {
        return weights;
    }

    /**
     * Elements {@code [from, from + count)}.
     *
     * @throws IllegalArgumentException when the masters are split and another rank keeps some of the remainders
     */
    public Fp32Values part(long from, long count) {
        Shape shape = Shape.flat(count);
        if (remainder == null) {
            return Fp32Values.plain(weights.view(from, shape));
        }
        for (Sharding.Slice slice : own) {
            if (from >= slice.from() && from + count <= slice.to()) {
                return new Fp32Values(
                        weights.view(from, shape), remainder.view(slice.at() + from - slice.from(), shape));
            }
        }
        throw new IllegalArgumentException("elements " + from + " to " + (from + count)
                + " of split masters, of which this rank keeps"
                + " the remainders of "
                + own.stream().map(slice -> slice.from() + " to " + slice.to()).collect(Collectors.joining(", "))
                + "; build the parameter store with the optimizer's shards");
    }

    /** Replaces the masters from element {@code at} on; remainders that another rank keeps are its affair. */
    void set(Backend backend, long at, Tensor values) {
        long count = values.elements();
        if (remainder == null) {
            backend.elementwise().copy(values, weights.view(at, values.shape()));
            return;
        }
        long done = at;
        for (Sharding.Slice slice : own) {
            long from = Math.max(slice.from(), at);
            long to = Math.min(slice.to(), at + count);
            if (from < to) {
                round(backend, values, done - at, done, from - done);
                Fp32Values kept = part(from, to - from);
                backend.optimizer()
                        .split(values.view(from - at, kept.values().shape()), kept.values(), kept.remainder());
                done = to;
            }
        }
        round(backend, values, done - at, done, at + count - done);
    }

    private void round(Backend backend, Tensor values, long from, long at, long count) {
        if (count > 0) {
            Shape shape = Shape.flat(count);
            backend.optimizer().split(values.view(from, shape), weights.view(at, shape), null);
        }
    }

    /** As {@link #set(Backend, long, Tensor)}, from the host. */
    void set(Backend backend, long at, float[] values) {
        Shape shape = Shape.flat(values.length);
        if (remainder == null) {
            backend.upload(values, weights.view(at, shape));
            return;
        }
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor whole = scope.allocate(DType.FP32, shape);
            backend.upload(values, whole);
            set(backend, at, whole);
        }
    }
}
