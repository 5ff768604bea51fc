package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A view of a Java array. FP32 and BF16 share {@code float[]} storage; a BF16 tensor only ever holds values that BF16 can
 * represent, so operations round when they write. INT32 and INT16 share {@code int[]} storage likewise. Heap arrays rather than native memory because the JIT vectorizes loops
 * over them; copying GEMM operands into native memory was measured to cost 4 to 8 percent of an OpenBLAS call.
 *
 * @param offset index of element 0 in the array
 */
public record CpuTensor(DType dtype, Shape shape, float @Nullable [] floatArray, int @Nullable [] intArray, int offset)
        implements Tensor {

    public static CpuTensor ofFloats(DType dtype, float[] values, Shape shape) {
        return new CpuTensor(dtype, shape, values, null, 0);
    }

    public static CpuTensor ofInts(int[] values, Shape shape) {
        return ofInts(DType.INT32, values, shape);
    }

    static CpuTensor ofInts(DType dtype, int[] values, Shape shape) {
        return new CpuTensor(dtype, shape, null, values, 0);
    }

    /** The tensor as this backend's own type. */
    public static CpuTensor of(Tensor tensor) {
        if (tensor instanceof CpuTensor cpu) {
            return cpu;
        }
        throw new IllegalArgumentException("not a CPU tensor: " + tensor);
    }

    /** The backing array of a float tensor; element i of the view is at {@code offset() + i}. */
    public float[] floats() {
        if (floatArray == null) {
            throw new IllegalArgumentException("expected a float tensor, got " + dtype + " " + shape);
        }
        return floatArray;
    }

    /** The backing array of an INT32 or INT16 tensor. */
    public int[] ints() {
        if (intArray == null) {
            throw new IllegalArgumentException("expected an integer tensor, got " + dtype + " " + shape);
        }
        return intArray;
    }

    public int size() {
        return Math.toIntExact(elements());
    }

    @Override
    public CpuTensor view(long start, Shape viewShape) {
        if (start < 0 || start + viewShape.elements() > elements()) {
            throw new IndexOutOfBoundsException("view " + viewShape + " at " + start + " leaves " + shape);
        }
        return new CpuTensor(dtype, viewShape, floatArray, intArray, Math.toIntExact(offset + start));
    }

    @Override
    public String toString() {
        return dtype + shape.toString();
    }
}
