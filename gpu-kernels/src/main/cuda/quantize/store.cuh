// Stores of floats as BF16, vectorised where alignment allows.
#pragma once

#include <cuda_bf16.h>
#include <cstdint>

#include "nvfp4.cuh"

namespace fourfold {

// 16 consecutive values of a row. vector: the address is a multiple of 16 bytes and all 16 exist.
__device__ __forceinline__ void store16(__nv_bfloat16* to, int present, bool vector, const float (&v)[16]) {
    if (vector) {
        uint4* wide = reinterpret_cast<uint4*>(to);
        wide[0] = make_uint4(packBf16Pair(v[0], v[1]), packBf16Pair(v[2], v[3]), packBf16Pair(v[4], v[5]),
                             packBf16Pair(v[6], v[7]));
        wide[1] = make_uint4(packBf16Pair(v[8], v[9]), packBf16Pair(v[10], v[11]), packBf16Pair(v[12], v[13]),
                             packBf16Pair(v[14], v[15]));
    } else {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            if (i < present) {
                to[i] = __float2bfloat16_rn(v[i]);
            }
        }
    }
}

// Two neighbouring values. vector: the pair is aligned and both exist.
__device__ __forceinline__ void store2(__nv_bfloat16* to, int present, bool vector, float a, float b) {
    if (vector) {
        *reinterpret_cast<uint32_t*>(to) = packBf16Pair(a, b);
    } else {
        if (present > 0) {
            to[0] = __float2bfloat16_rn(a);
        }
        if (present > 1) {
            to[1] = __float2bfloat16_rn(b);
        }
    }
}

}  // namespace fourfold
