// Loads of BF16 and FP32 rows as floats, vectorised where alignment allows, zeros beyond the end.
#pragma once

#include <cuda_bf16.h>
#include <cstdint>

#include "nvfp4.cuh"

namespace fourfold {

__device__ __forceinline__ float toFloat(float x) { return x; }
__device__ __forceinline__ float toFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

// 16 consecutive values of a row. vector: the address is a multiple of 16 bytes and all 16 exist.
__device__ __forceinline__ void load16(const float* from, int present, bool vector, float (&v)[16]) {
    if (vector) {
        const float4* wide = reinterpret_cast<const float4*>(from);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float4 q = __ldg(wide + i);
            v[i * 4] = q.x;
            v[i * 4 + 1] = q.y;
            v[i * 4 + 2] = q.z;
            v[i * 4 + 3] = q.w;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            v[i] = i < present ? from[i] : 0.f;
        }
    }
}

__device__ __forceinline__ void load16(const __nv_bfloat16* from, int present, bool vector, float (&v)[16]) {
    if (vector) {
        const uint4* wide = reinterpret_cast<const uint4*>(from);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            uint4 q = __ldg(wide + i);
            uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                float2 pair = unpackBf16(words[j]);
                v[i * 8 + j * 2] = pair.x;
                v[i * 8 + j * 2 + 1] = pair.y;
            }
        }
    } else {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            v[i] = i < present ? __bfloat162float(from[i]) : 0.f;
        }
    }
}

// Two neighbouring values. vector: the pair is aligned and both exist.
__device__ __forceinline__ float2 load2(const float* from, int present, bool vector) {
    if (vector) {
        return __ldg(reinterpret_cast<const float2*>(from));
    }
    return make_float2(present > 0 ? from[0] : 0.f, present > 1 ? from[1] : 0.f);
}

__device__ __forceinline__ float2 load2(const __nv_bfloat16* from, int present, bool vector) {
    if (vector) {
        return unpackBf16(__ldg(reinterpret_cast<const uint32_t*>(from)));
    }
    return make_float2(present > 0 ? __bfloat162float(from[0]) : 0.f, present > 1 ? __bfloat162float(from[1]) : 0.f);
}

}  // namespace fourfold
