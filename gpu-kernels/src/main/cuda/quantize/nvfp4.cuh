// NVFP4 arithmetic, bit for bit as docs/numerics.md says: FP32, the order written, no fused multiply-add across steps.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cfloat>
#include <cstdint>

namespace fourfold {

// The three tensor-wide factors that follow from amax.
struct TensorScale {
    float encode;   // S
    float decode;   // Sd = 1 / S
    float blockFactor;  // M = S * (1/6), or S itself for the paper's formula
};

// paper: (amax / 6) * S instead of amax * (S * (1/6)).
__device__ __forceinline__ TensorScale tensorScale(float amax, bool paper) {
    float s = fminf(__fdiv_rn(2688.0f, amax), FLT_MAX);
    if (amax == 0.0f || s == 0.0f) {
        s = 1.0f;
    }
    TensorScale scale;
    scale.encode = s;
    scale.decode = __frcp_rn(s);
    scale.blockFactor = paper ? s : __fmul_rn(s, 1.0f / 6.0f);
    return scale;
}

// The E4M3 byte of a block.
__device__ __forceinline__ uint32_t blockScaleByte(float blockAmax, const TensorScale& scale, bool paper) {
    float ds = paper ? __fmul_rn(__fdiv_rn(blockAmax, 6.0f), scale.blockFactor)
                             : __fmul_rn(blockAmax, scale.blockFactor);
    return __nv_cvt_float_to_fp8(fminf(ds, FLT_MAX), __NV_SATFINITE, __NV_E4M3);
}

__device__ __forceinline__ float decodeE4m3(uint32_t byte) {
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(byte), __NV_E4M3)));
}

// What an element is multiplied by before rounding to E2M1.
__device__ __forceinline__ float encodeFactor(float decodedScale, const TensorScale& scale) {
    return fminf(__frcp_rn(__fmul_rn(decodedScale, scale.decode)), FLT_MAX);
}

// A magnitude rounded to E2M1 by adding a constant whose last place is the local step (0.5, 1 or 2): to nearest even.
struct E2m1 {
    uint32_t code;  // without sign
    float value;
};

__device__ __forceinline__ E2m1 roundE2m1(float magnitude) {
    float a = fminf(magnitude, 6.0f);
    float magic = a < 2.0f ? 0x1.8p22f : a < 4.0f ? 0x1.8p23f : 0x1.8p24f;
    uint32_t offset = a < 2.0f ? 0u : a < 4.0f ? 2u : 4u;
    float t = __fadd_rn(a, magic);
    E2m1 result;
    result.code = (__float_as_uint(t) & 7u) + offset;
    result.value = __fsub_rn(t, magic);
    return result;
}

// Stochastic rounding with one random byte: t = fma(byte/256, step, |y|), then down to the grid of t.
__device__ __forceinline__ E2m1 roundE2m1Stochastic(float magnitude, uint32_t byte) {
    float step = magnitude < 2.0f ? 0.5f : magnitude < 4.0f ? 1.0f : 2.0f;
    float t = fminf(__fmaf_rn(static_cast<float>(byte) * 0.00390625f, step, magnitude), 6.0f);
    float magic = t < 2.0f ? 0x1.0p22f : t < 4.0f ? 0x1.0p23f : 0x1.0p24f;
    uint32_t offset = t < 2.0f ? 0u : t < 4.0f ? 2u : 4u;
    // Rounding toward zero on a positive sum is the floor.
    float floored = __fadd_rz(t, magic);
    E2m1 result;
    result.code = (__float_as_uint(floored) & 7u) + offset;
    result.value = __fsub_rn(floored, magic);
    return result;
}

// Philox4x32-10: 16 random bytes for one group of 16 elements. See io.fourfold.kernels.op.RandomStream.
__device__ __forceinline__ uint4 philox(uint2 key, uint4 counter) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        uint32_t high0 = __umulhi(0xD2511F53u, counter.x);
        uint32_t low0 = 0xD2511F53u * counter.x;
        uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z);
        uint32_t low1 = 0xCD9E8D57u * counter.z;
        counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

__device__ __forceinline__ float2 unpackBf16(uint32_t pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000u));
}

__device__ __forceinline__ uint32_t packBf16Pair(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}

// Largest magnitude of two packed BF16 pairs, elementwise.
__device__ __forceinline__ uint32_t maxMagnitude(uint32_t a, uint32_t b) {
    __nv_bfloat162 m = __hmax2(*reinterpret_cast<__nv_bfloat162*>(&a), *reinterpret_cast<__nv_bfloat162*>(&b));
    return *reinterpret_cast<uint32_t*>(&m);
}

constexpr uint32_t kMagnitudeMask = 0x7FFF7FFFu;

// The 16-point Sylvester transform, unscaled, in butterfly order (strides 1, 2, 4, 8).
__device__ __forceinline__ void sylvester16(float (&v)[16]) {
#pragma unroll
    for (int half = 1; half < 16; half *= 2) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            if ((i & half) == 0) {
                float a = v[i];
                float b = v[i + half];
                v[i] = __fadd_rn(a, b);
                v[i + half] = __fsub_rn(a, b);
            }
        }
    }
}

}  // namespace fourfold
