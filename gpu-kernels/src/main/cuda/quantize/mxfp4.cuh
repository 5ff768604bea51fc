// MXFP4 scales, bit for bit as docs/numerics.md says: a UE8M0 byte b stands for 2^(b - 127), 255 for NaN.
#pragma once

#include <cstdint>

namespace fourfold {

// Factors of a block: what its codes and its elements are multiplied with. Both are exact, each the other's reciprocal.
struct Mxfp4Scale {
    float decode;
    float encode;
};

// 2^exponent for -127 .. 127; the smallest is subnormal.
__device__ __forceinline__ float powerOfTwo(int exponent) {
    return __uint_as_float(exponent == -127 ? 0x00400000u : static_cast<uint32_t>(exponent + 127) << 23);
}

// 2^ceil(log2(amax / 6)), at least 2^-127: amax = m * 2^k gives k - 2 where m is at most 1.5, k - 1 otherwise.
__device__ __forceinline__ Mxfp4Scale mxfp4Scale(uint32_t amaxBits) {
    if (amaxBits >= 0x7F800000u) {
        float nan = __uint_as_float(0x7FC00000u);
        return {nan, nan};
    }
    int byte = max(0, static_cast<int>((amaxBits + 0x3FFFFFu) >> 23) - 2);
    return {powerOfTwo(byte - 127), powerOfTwo(127 - byte)};
}

}  // namespace fourfold
