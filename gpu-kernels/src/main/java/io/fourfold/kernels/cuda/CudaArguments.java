package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** Checks of the tensors given to an operation, and the type suffixes of kernel names. */
final class CudaArguments {
    private CudaArguments() {}

    /** A float tensor (FP32 or BF16) of {@code elements} elements. */
    static CudaTensor floats(Tensor tensor, String name, long elements) {
        CudaTensor cuda = CudaTensor.of(tensor);
        require(cuda.dtype().isFloat(), name + " must be FP32 or BF16, got " + cuda);
        return sized(cuda, name, elements);
    }

    static CudaTensor fp32(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.FP32, elements);
    }

    static CudaTensor int32(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.INT32, elements);
    }

    /** The BF16 weights of split FP32 numbers. */
    static CudaTensor bf16(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.BF16, elements);
    }

    /** The remainders of split FP32 numbers. */
    static CudaTensor int16(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.INT16, elements);
    }

    /** A tensor that may be missing, as a kernel argument. */
    static Object optionalFp32(@Nullable Tensor tensor, String name, long elements) {
        return tensor == null ? CudaFunction.NULL : fp32(tensor, name, elements);
    }

    static void require(boolean condition, String message) {
        if (!condition) {
            throw new IllegalArgumentException(message);
        }
    }

    /** {@code name_bf16_fp32} and so on: the kernel of these element types. */
    static String kernel(String name, CudaTensor... tensors) {
        StringBuilder text = new StringBuilder(name);
        for (CudaTensor tensor : tensors) {
            require(tensor.dtype().isFloat(), name + " takes FP32 or BF16, got " + tensor);
            text.append(tensor.dtype() == DType.BF16 ? "_bf16" : "_fp32");
        }
        return text.toString();
    }

    /** Blocks of {@code unit} that cover {@code count}. */
    static int blocks(long count, long unit) {
        return Math.toIntExact((count + unit - 1) / unit);
    }

    private static CudaTensor typed(Tensor tensor, String name, DType dtype, long elements) {
        CudaTensor cuda = CudaTensor.of(tensor);
        require(cuda.dtype() == dtype, name + " must be " + dtype + ", got " + cuda);
        return sized(cuda, name, elements);
    }

    private static CudaTensor sized(CudaTensor tensor, String name, long elements) {
        require(tensor.elements() == elements, name + " must have " + elements + " elements, got " + tensor);
        return tensor;
    }
}
