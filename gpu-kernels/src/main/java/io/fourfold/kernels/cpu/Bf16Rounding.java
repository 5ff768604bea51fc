package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.DType;

/** Rounds what an operation has written in FP32 to BF16, to nearest even; infinities and NaN stay what they are. */
final class Bf16Rounding {
    private Bf16Rounding() {}

    static float round(float value) {
        int bits = Float.floatToRawIntBits(value);
        if ((bits & 0x7fffffff) > 0x7f800000) {
            return Float.intBitsToFloat((bits & 0xffff0000) | 0x00400000);
        }
        return Float.intBitsToFloat((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000);
    }

    static void round(float[] values, int from, int length) {
        for (int i = from; i < from + length; i++) {
            values[i] = round(values[i]);
        }
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
