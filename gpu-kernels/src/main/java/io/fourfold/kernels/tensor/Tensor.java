package io.fourfold.kernels.tensor;

/**
 * A typed, shaped, contiguous row-major view of memory owned by a {@link TensorScope}. Views share memory. A tensor is
 * valid until its scope is closed. Only the backend that made a tensor can work on it.
 */
public interface Tensor {
    DType dtype();

    Shape shape();

    /** A view of {@code shape.elements()} elements that starts {@code offset} elements into this tensor. */
    Tensor view(long offset, Shape shape);

    /** The same elements with other dimensions. */
    default Tensor reshape(int... dims) {
        Shape shape = Shape.of(dims);
        if (shape.elements() != elements()) {
            throw new IllegalArgumentException("cannot reshape " + shape() + " to " + shape);
        }
        return view(0, shape);
    }

    /** Rows {@code [from, to)} of this tensor read as a matrix [rows, cols]. */
    default Tensor rows(int from, int to) {
        int cols = shape().cols();
        return view((long) from * cols, Shape.of(to - from, cols));
    }

    default long elements() {
        return shape().elements();
    }

    default int dim(int i) {
        return shape().dim(i);
    }
}
