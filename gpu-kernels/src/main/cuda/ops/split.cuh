// FP32 numbers split into a BF16 head and a 16-bit remainder (SplitFloat of the CPU oracle, bit-equal):
//
//   head = (bits + 0x8000) >> 16,  remainder = lower half of bits;  bits = (head << 16) + sign-extended remainder
//
// A NaN is stored as 0x7fc00000, because the addition would carry out of the exponent of others (0x7fffffff, what
// arithmetic gives here).
#pragma once

#include "ops/vector.cuh"

namespace fourfold {

__device__ __forceinline__ uint32_t splittable(float x) {
    uint32_t bits = __float_as_uint(x);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
}

__device__ __forceinline__ float joined(uint16_t head, int16_t remainder) {
    return __uint_as_float((uint32_t(head) << 16) + uint32_t(int(remainder)));
}

__device__ __forceinline__ void split(float x, uint16_t* head, int16_t* remainder) {
    uint32_t bits = splittable(x);
    *head = uint16_t((bits + 0x8000u) >> 16);
    *remainder = int16_t(bits);
}

// Two numbers whose heads and remainders lie in one word each, the first in the lower half.
__device__ __forceinline__ void joinPair(uint32_t heads, uint32_t remainders, float& low, float& high) {
    low = __uint_as_float((heads << 16) + uint32_t(int(remainders << 16) >> 16));
    high = __uint_as_float((heads & 0xffff0000u) + uint32_t(int(remainders) >> 16));
}

__device__ __forceinline__ void splitPair(float low, float high, uint32_t& heads, uint32_t& remainders) {
    uint32_t a = splittable(low);
    uint32_t b = splittable(high);
    heads = __byte_perm(a + 0x8000u, b + 0x8000u, 0x7632);
    remainders = __byte_perm(a, b, 0x5410);
}

}  // namespace fourfold
