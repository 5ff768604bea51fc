package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;

/** Checks of the tensors given to an operation; a mismatch names the argument and what was expected. */
final class Arguments {
    private Arguments() {}

    /** A float tensor (FP32 or BF16) of {@code elements} elements. */
    static CpuTensor floats(Tensor tensor, String name, long elements) {
        CpuTensor cpu = CpuTensor.of(tensor);
        if (!cpu.dtype().isFloat()) {
            throw new IllegalArgumentException(name + " must be FP32 or BF16, got " + cpu);
        }
        return sized(cpu, name, elements);
    }

    static CpuTensor fp32(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.FP32, elements);
    }

    static CpuTensor int32(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.INT32, elements);
    }

    /** The BF16 weights of split FP32 numbers. */
    static CpuTensor bf16(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.BF16, elements);
    }

    /** The remainders of split FP32 numbers. */
    static CpuTensor int16(Tensor tensor, String name, long elements) {
        return typed(tensor, name, DType.INT16, elements);
    }

    private static CpuTensor typed(Tensor tensor, String name, DType dtype, long elements) {
        CpuTensor cpu = CpuTensor.of(tensor);
        if (cpu.dtype() != dtype) {
            throw new IllegalArgumentException(name + " must be " + dtype + ", got " + cpu);
        }
        return sized(cpu, name, elements);
    }

    private static CpuTensor sized(CpuTensor tensor, String name, long elements) {
        if (tensor.elements() != elements) {
            throw new IllegalArgumentException(name + " must have " + elements + " elements, got " + tensor);
        }
        return tensor;
    }

    static void require(boolean condition, String message) {
        if (!condition) {
            throw new IllegalArgumentException(message);
        }
    }
}
