// Eight consecutive FP32 or BF16 values at a time as floats: 16-byte accesses where alignment allows, single ones else.
// Stores round to nearest even, once.
#pragma once

#include <cuda_bf16.h>
#include <cstdint>

namespace fourfold {

using bf16 = __nv_bfloat16;

constexpr int kVector = 8;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float toFloat(float x) { return x; }
__device__ __forceinline__ float toFloat(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void fromFloat(float x, float* to) { *to = x; }
__device__ __forceinline__ void fromFloat(float x, bf16* to) { *to = __float2bfloat16_rn(x); }

// True when vectors at multiples of stride elements from base are whole 16-byte units.
template <class T>
__device__ __forceinline__ bool aligned(const T* base, long stride = kVector) {
    return (reinterpret_cast<uintptr_t>(base) & 15) == 0 && stride % kVector == 0;
}

__device__ __forceinline__ void loadWide(const float* from, float (&v)[kVector]) {
    float4 a = reinterpret_cast<const float4*>(from)[0];
    float4 b = reinterpret_cast<const float4*>(from)[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

__device__ __forceinline__ void loadWide(const bf16* from, float (&v)[kVector]) {
    uint4 q = *reinterpret_cast<const uint4*>(from);
    uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        v[2 * i] = __uint_as_float(words[i] << 16);
        v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

__device__ __forceinline__ void storeWide(float* to, const float (&v)[kVector]) {
    reinterpret_cast<float4*>(to)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

__device__ __forceinline__ uint32_t packBf16(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}

__device__ __forceinline__ void storeWide(bf16* to, const float (&v)[kVector]) {
    *reinterpret_cast<uint4*>(to) =
        make_uint4(packBf16(v[0], v[1]), packBf16(v[2], v[3]), packBf16(v[4], v[5]), packBf16(v[6], v[7]));
}

// present: how many of the eight exist, at least one; the others read as zero.
template <class T>
__device__ __forceinline__ void load8(const T* from, long present, bool wide, float (&v)[kVector]) {
    if (wide && present >= kVector) {
        loadWide(from, v);
    } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            v[i] = i < present ? toFloat(from[i]) : 0.f;
        }
    }
}

template <class T>
__device__ __forceinline__ void store8(T* to, long present, bool wide, const float (&v)[kVector]) {
    if (wide && present >= kVector) {
        storeWide(to, v);
    } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            if (i < present) {
                fromFloat(v[i], to + i);
            }
        }
    }
}

// Sums over the lanes of aligned groups of width lanes, a power of two; the same result in every lane of the group.
__device__ __forceinline__ float groupSum(float x, int width = kWarp) {
    for (int step = width / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(kAllLanes, x, step);
    }
    return x;
}

__device__ __forceinline__ double groupSum(double x) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(kAllLanes, x, step);
    }
    return x;
}

__device__ __forceinline__ float groupMax(float x) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
        x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
    }
    return x;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

}  // namespace fourfold

// Instantiates KERNEL(suffix, types...) for every mix of FP32 and BF16.
#define FOURFOLD_TYPES1(KERNEL) \
    KERNEL(fp32, float)         \
    KERNEL(bf16, fourfold::bf16)
#define FOURFOLD_TYPES2(KERNEL)                          \
    KERNEL(fp32_fp32, float, float)                      \
    KERNEL(fp32_bf16, float, fourfold::bf16)             \
    KERNEL(bf16_fp32, fourfold::bf16, float)             \
    KERNEL(bf16_bf16, fourfold::bf16, fourfold::bf16)
#define FOURFOLD_TYPES3(KERNEL)                                              \
    KERNEL(fp32_fp32_fp32, float, float, float)                              \
    KERNEL(fp32_fp32_bf16, float, float, fourfold::bf16)                     \
    KERNEL(fp32_bf16_fp32, float, fourfold::bf16, float)                     \
    KERNEL(fp32_bf16_bf16, float, fourfold::bf16, fourfold::bf16)            \
    KERNEL(bf16_fp32_fp32, fourfold::bf16, float, float)                     \
    KERNEL(bf16_fp32_bf16, fourfold::bf16, float, fourfold::bf16)            \
    KERNEL(bf16_bf16_fp32, fourfold::bf16, fourfold::bf16, float)            \
    KERNEL(bf16_bf16_bf16, fourfold::bf16, fourfold::bf16, fourfold::bf16)
