package io.fourfold.kernels.tensor;

/** Element type of a {@link Tensor}, with the bytes an element occupies on a device. */
public enum DType {
    FP32(4),
    /** Stored in 2 bytes on a GPU. The CPU backend keeps a {@code float} whose value is exactly representable. */
    BF16(2),
    INT32(4);

    private final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /** Bytes per element on a device. */
    public int bytes() {
        return bytes;
    }
}
