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

constexpr uint32_t kExponentMask = 0x7F800000u;
constexpr uint32_t kOneBits = 0x3F800000u;

// Rounding adds a power of two whose last place is the step of the magnitude's binade: 0.5 below 2, then 1, then 2.
struct E2m1 {
    uint32_t code;  // without sign
    float value;
};

// The power of two at the start of the binade; 1 for [0, 2).
__device__ __forceinline__ float binade(float magnitude) {
    return __uint_as_float(max(__float_as_uint(magnitude) & kExponentMask, kOneBits));
}

constexpr float kRounder = 0x1p22f;  // times the binade, its last place is the step of the grid

// sum: the magnitude plus the binade times kRounder, which leaves a multiple of the step.
__device__ __forceinline__ E2m1 fromRounded(float sum, float start) {
    E2m1 result;
    result.code = (__float_as_uint(sum) & 7u) + ((__float_as_uint(start) - kOneBits) >> 22);
    result.value = __fmaf_rn(start, -kRounder, sum);
    return result;
}

// To nearest even. The product is a power of two, so the fused additions round like plain ones.
__device__ __forceinline__ E2m1 roundE2m1(float magnitude) {
    float a = fminf(magnitude, 6.0f);
    float start = binade(a);
    return fromRounded(__fmaf_rn(start, kRounder, a), start);
}

// Byte `index` of a word as byte / 512: its bits below those of 2^14.
__device__ __forceinline__ float byteAsFraction(uint32_t word, uint32_t index) {
    return __fsub_rn(__uint_as_float(__byte_perm(word, 0x46800000u, 0x7640u | index)), 16384.0f);
}

// Stochastic rounding with one random byte, given as byte / 512: t = fma(byte/256, step, |y|), then down to the grid of t.
__device__ __forceinline__ E2m1 roundE2m1Stochastic(float magnitude, float fraction) {
    float t = fminf(__fmaf_rn(fraction, binade(magnitude), magnitude), 6.0f);  // also clamps a magnitude above 6
    float start = binade(t);
    return fromRounded(__fmaf_rz(start, kRounder, t), start);  // on a positive sum toward zero is the floor
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

// Signs of the random Hadamard transform, the same for a whole run: bit i set = row i is negated. As in
// io.fourfold.kernels.quant.Hadamard16; known at compile time so that they cost nothing.
constexpr uint32_t kHadamardSigns = 0xD7E8u;

// The larger magnitude; NaN wins.
__device__ __forceinline__ float maxAbs(float a, float b) {
    float result;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(fabsf(b)));
    return result;
}

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
