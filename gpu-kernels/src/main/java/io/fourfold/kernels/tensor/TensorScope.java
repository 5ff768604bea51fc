package io.fourfold.kernels.tensor;

/**
 * A group of allocations that are released together. A scope belongs to one {@link Region} of the device arena. The
 * contents of a new tensor are undefined unless {@link #zeros} made it. Not thread-safe: one rank, one thread.
 */
public interface TensorScope extends AutoCloseable {
    Region region();

    Tensor allocate(DType dtype, Shape shape);

    Tensor zeros(DType dtype, Shape shape);

    default Tensor allocate(DType dtype, int... dims) {
        return allocate(dtype, Shape.of(dims));
    }

    default Tensor zeros(DType dtype, int... dims) {
        return zeros(dtype, Shape.of(dims));
    }

    /** Bytes held now, counted with {@link DType#bytes()}. */
    long allocatedBytes();

    /** Releases every tensor of this scope; using one afterwards is an error. */
    @Override
    void close();
}
