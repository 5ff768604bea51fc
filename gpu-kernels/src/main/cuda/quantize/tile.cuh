// A warp's tile of 16 rows and 64 columns, two neighbouring columns a lane: loads, stores, transform, random words, largest
// magnitudes.
#pragma once

#include <cuda_bf16.h>
#include <cstdint>

#include "amax.cuh"
#include "groups.cuh"
#include "load.cuh"
#include "nvfp4.cuh"
#include "random_bytes.cuh"

namespace fourfold {

// Wide accesses need rows that all start at a multiple of `bytes`.
template <class T>
__device__ __forceinline__ bool aligned(const T* pointer, int bytes) {
    return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// 16 rows of two neighbouring columns; zeros behind the last row.
template <class T>
__device__ __forceinline__ void loadPair(const T* x, int rowsLeft, int cols, int col, float (&a)[16], float (&b)[16]) {
    bool vector = cols % 2 == 0 && col < cols && aligned(x, 2 * sizeof(T));
    if (vector && rowsLeft >= 16) {
        const T* at = x + col;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            float2 pair = load2(at, 2, true);
            a[i] = pair.x;
            b[i] = pair.y;
            at += cols;
        }
        return;
    }
    int present = max(0, cols - col);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        float2 pair = i < rowsLeft ? load2(x + long(i) * cols + col, present, vector) : make_float2(0.f, 0.f);
        a[i] = pair.x;
        b[i] = pair.y;
    }
}

// Signs and butterflies, without the factor 0.25.
__device__ __forceinline__ void transform16(float (&v)[16]) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        v[i] = (kHadamardSigns >> i & 1u) ? -v[i] : v[i];
    }
    sylvester16(v);
}

__device__ __forceinline__ float withSignOf(float magnitude, float x) {
    return __uint_as_float(__float_as_uint(magnitude) | (__float_as_uint(x) & 0x80000000u));
}

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

// Random words of a warp's 16 rows x 64 columns: each lane draws two of the 64 blocks, all share them. Blocks behind the
// last column repeat the last one; nothing is rounded with them.
using WarpWords = uint32_t[16][16];

__device__ __forceinline__ void drawWords(
    const RandomStream& random, const RowSpan& span, int firstRow, int col, int cols, WarpWords& words) {
    int lane = threadIdx.x % 32;
    int columnGroup = min(col / 16 + lane / 8, (cols - 1) / 16);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        int row = lane % 8 + i * 8;
        uint4 drawn = randomBytes(random, span, firstRow + row, columnGroup);
        *reinterpret_cast<uint4*>(&words[row][lane / 8 * 4]) = drawn;
    }
    __syncwarp();
}

__device__ __forceinline__ void storePair(__nv_bfloat16* to, int present, bool vector, float a, float b) {
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
