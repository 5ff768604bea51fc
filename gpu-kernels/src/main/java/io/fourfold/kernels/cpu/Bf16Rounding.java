package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.tensor.DType;

/** Rounds what an operation has written in FP32 to BF16, to nearest even; infinities and NaN stay what they are. */
final class Bf16Rounding {
    private Bf16Rounding() {}

    static void round(float[] values, int from, int length) {
        BFloat16.round(values, from, values, from, length);
    }

    static void round(CpuTensor tensor) {
        round(tensor.floats(), tensor.offset(), tensor.size());
    }

    /** Rounds {@code length} values of a BF16 tensor from index {@code from} of its array on; nothing for FP32. */
    static void roundIfNeeded(CpuTensor tensor, int from, int length) {
        if (tensor.dtype() == DType.BF16) {
            round(tensor.floats(), from, length);
        }
    }
}
