package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;

/**
 * A view of device memory.
 *
 * @param address device address of element 0; memory of a new tensor starts at a multiple of 512 bytes
 */
public record CudaTensor(DType dtype, Shape shape, long address) implements Tensor {

    /** The tensor as this backend's own type. */
    public static CudaTensor of(Tensor tensor) {
        if (tensor instanceof CudaTensor cuda) {
            return cuda;
        }
        throw new IllegalArgumentException("not a CUDA tensor: " + tensor);
    }

    /** Size in bytes. */
    public long bytes() {
        return elements() * dtype.bytes();
    }

    @Override
    public CudaTensor view(long start, Shape viewShape) {
        if (start < 0 || start + viewShape.elements() > elements()) {
            throw new IndexOutOfBoundsException("view " + viewShape + " at " + start + " leaves " + shape);
        }
        return new CudaTensor(dtype, viewShape, address + start * dtype.bytes());
    }

    @Override
    public String toString() {
        return dtype + shape.toString();
    }
}
