package io.fourfold.kernels.tensor;

/** Element type of a {@link Tensor}, with the bytes an element occupies on a device. */
public enum DType {
    FP32(4),
    /** Stored in 2 bytes on a GPU. The CPU backend keeps a {@code float} whose value is exactly representable. */
    BF16(2),
    INT32(4),
    /**
     * Remainders of split FP32 numbers, see {@link io.fourfold.kernels.numeric.SplitFloat}; only the operations on those
     * take it. The CPU backend keeps an {@code int}.
     */
    INT16(2);

    private final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /** True for FP32 and BF16. */
    public boolean isFloat() {
        return this == FP32 || this == BF16;
    }

    /** Bytes per element on a device. */
    public int bytes() {
        return bytes;
    }
}
