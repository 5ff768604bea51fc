package io.fourfold.kernels.tensor;

import java.util.Arrays;

/** Immutable row-major dimensions of a tensor; the last dimension is contiguous. */
public record Shape(int... dims) {
    private static final long MOST_FLAT_COLUMNS = 1 << 20;

    public Shape {
        dims = dims.clone();
        for (int dim : dims) {
            if (dim < 0) {
                throw new IllegalArgumentException("negative dimension in shape " + Arrays.toString(dims));
            }
        }
    }

    public static Shape of(int... dims) {
        return new Shape(dims);
    }

    /**
     * The shape of a flat buffer: one dimension where an {@code int} counts the elements, otherwise rows of the largest
     * power of two that divides them, up to 2^20.
     *
     * @throws IllegalArgumentException when no such row is long enough; pad the buffer to a multiple of 16 or more
     */
    public static Shape flat(long elements) {
        if (elements <= Integer.MAX_VALUE) {
            return of(Math.toIntExact(elements));
        }
        long cols = Math.min(Long.lowestOneBit(elements), MOST_FLAT_COLUMNS);
        if (elements / cols > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("a flat buffer of " + elements
                    + " elements does not split into at most 2^31 - 1 equal rows; pad it to a multiple of 16 or more");
        }
        return of((int) (elements / cols), (int) cols);
    }

    @Override
    public int[] dims() {
        return dims.clone();
    }

    public int rank() {
        return dims.length;
    }

    /** Dimension {@code i}; negative values count from the end. */
    public int dim(int i) {
        return dims[i < 0 ? dims.length + i : i];
    }

    /** Number of elements. */
    public long elements() {
        long n = 1;
        for (int dim : dims) {
            n *= dim;
        }
        return n;
    }

    /** Product of all dimensions but the last: the row count when the tensor is read as a matrix. */
    public int rows() {
        return dims.length == 0 || dims[dims.length - 1] == 0
                ? Math.toIntExact(elements())
                : Math.toIntExact(elements() / dims[dims.length - 1]);
    }

    /** The last dimension: the column count when the tensor is read as a matrix. */
    public int cols() {
        return dims.length == 0 ? 1 : dims[dims.length - 1];
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Shape shape && Arrays.equals(dims, shape.dims);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(dims);
    }

    @Override
    public String toString() {
        return Arrays.toString(dims);
    }
}
