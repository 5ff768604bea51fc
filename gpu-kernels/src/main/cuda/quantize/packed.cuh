// Stored NVFP4: eight E2M1 codes a word, element i in bits 4 i .. 4 i + 3.
#pragma once

#include <cuda_fp8.h>
#include <cstdint>

#include "nvfp4.cuh"

namespace fourfold {

// E4M3 of value * 2^-6 is the code of the E2M1 value shifted left by two, the sign apart: both number the same values.
constexpr float kCodeUnit = 0x1p-6f;

__device__ __forceinline__ uint32_t e4m3Pair(float low, float high) {
    return __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, __NV_E4M3);
}

// E4M3 bytes of four values.
__device__ __forceinline__ uint32_t e4m3Bytes(float a, float b, float c, float d) {
    return __byte_perm(e4m3Pair(__fmul_rn(a, kCodeUnit), __fmul_rn(b, kCodeUnit)),
                       e4m3Pair(__fmul_rn(c, kCodeUnit), __fmul_rn(d, kCodeUnit)), 0x5410);
}

// Codes of four values that E2M1 holds, one a byte.
__device__ __forceinline__ uint32_t codeBytes(float a, float b, float c, float d) {
    uint32_t bytes = e4m3Bytes(a, b, c, d);
    return (bytes >> 2 & 0x07070707u) | (bytes >> 4 & 0x08080808u);
}

// Codes of 16 values that E2M1 holds.
__device__ __forceinline__ uint2 packCodes(const float (&v)[16]) {
    return make_uint2(codeBytes(v[0], v[2], v[4], v[6]) | codeBytes(v[1], v[3], v[5], v[7]) << 4,
                      codeBytes(v[8], v[10], v[12], v[14]) | codeBytes(v[9], v[11], v[13], v[15]) << 4);
}

// Codes of eight magnitudes; signs at bits 7 of the bytes of `even` (elements 0, 2, 4, 6) and `odd`.
__device__ __forceinline__ uint32_t packMagnitudes(const float* v, uint32_t even, uint32_t odd) {
    uint32_t magnitudes = e4m3Bytes(v[0], v[2], v[4], v[6]) >> 2 | e4m3Bytes(v[1], v[3], v[5], v[7]) << 2;
    return magnitudes | (even >> 4 & 0x08080808u) | (odd & 0x80808080u);
}

// The highest bytes of both halves of four words: of the low halves in x, of the high halves in y.
__device__ __forceinline__ uint2 highBytes(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    uint32_t first = __byte_perm(a, b, 0x7351);
    uint32_t second = __byte_perm(c, d, 0x7351);
    return make_uint2(__byte_perm(first, second, 0x5410), __byte_perm(first, second, 0x7632));
}

// Two code bytes (0, 1 of `codes`) times a scale, exact in half precision. scale: decoded scale / kCodeUnit, twice.
__device__ __forceinline__ float2 decodePair(uint32_t e4m3, __half2 scale) {
    __half2_raw raw = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(e4m3), __NV_E4M3);
    return __half22float2(__hmul2(__half2(raw), scale));
}

// Values code * scale of 16 codes.
__device__ __forceinline__ void unpackCodes(uint2 codes, float decodedScale, float (&v)[16]) {
    __half2 scale = __float2half2_rn(decodedScale * (1.0f / kCodeUnit));
    uint32_t words[2] = {codes.x, codes.y};
#pragma unroll
    for (int w = 0; w < 2; ++w) {
#pragma unroll
        for (int odd = 0; odd < 2; ++odd) {
            uint32_t nibbles = words[w] >> (4 * odd) & 0x0F0F0F0Fu;
            uint32_t bytes = (nibbles & 0x07070707u) << 2 | (nibbles & 0x08080808u) << 4;
            float2 low = decodePair(bytes & 0xFFFFu, scale);
            float2 high = decodePair(bytes >> 16, scale);
            v[w * 8 + odd] = low.x;
            v[w * 8 + odd + 2] = low.y;
            v[w * 8 + odd + 4] = high.x;
            v[w * 8 + odd + 6] = high.y;
        }
    }
}

}  // namespace fourfold
