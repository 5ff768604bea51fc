package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * FP32 numbers on the device: as they are, or split into BF16 numbers and 16-bit remainders, which are joined and split on
 * their way to and from the host ({@link io.fourfold.kernels.numeric.SplitFloat}).
 *
 * @param values FP32 without a remainder, BF16 with one
 * @param remainder INT16 or null, the same elements
 */
public record Fp32Values(Tensor values, @Nullable Tensor remainder) {
    /** Joined on the device at a time. */
    private static final int SLICE_ELEMENTS = 1 << 22;

    /** Numbers that are not split. */
    public static Fp32Values plain(Tensor values) {
        return new Fp32Values(values, null);
    }

    public long elements() {
        return values.elements();
    }

    /** Elements {@code [from, from + count)}. */
    public Fp32Values view(long from, long count) {
        Shape shape = Shape.flat(count);
        return new Fp32Values(values.view(from, shape), remainder == null ? null : remainder.view(from, shape));
    }

    /** Copies all to the host, waiting for the work that writes them. */
    public float[] download(Backend backend) {
        float[] result = new float[Math.toIntExact(elements())];
        download(backend, result);
        return result;
    }

    /** As {@link #download(Backend)}, into the first elements of an array. */
    public void download(Backend backend, float[] destination) {
        if (remainder == null) {
            backend.download(values, destination);
            return;
        }
        for (long from = 0; from < elements(); from += SLICE_ELEMENTS) {
            Fp32Values slice = view(from, Math.min(SLICE_ELEMENTS, elements() - from));
            float[] joined = slice.joined(backend);
            System.arraycopy(joined, 0, destination, (int) from, joined.length);
        }
    }

    private float[] joined(Backend backend) {
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor whole = scope.allocate(DType.FP32, values.shape());
            backend.optimizer().join(values, split(remainder), whole);
            return backend.download(whole);
        }
    }

    /** Replaces all by numbers of the host. */
    public void upload(Backend backend, float[] source) {
        if (remainder == null) {
            backend.upload(source, values);
            return;
        }
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor whole = scope.allocate(DType.FP32, values.shape());
            backend.upload(source, whole);
            backend.optimizer().split(whole, values, remainder);
        }
    }

    private static Tensor split(@Nullable Tensor remainder) {
        if (remainder == null) {
            throw new IllegalStateException("these numbers are not split");
        }
        return remainder;
    }
}
