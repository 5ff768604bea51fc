// From a warpgroup's 64 x 256 accumulators to memory: through the copy engine, or BF16 by wide stores where a box of 64 rows
// would reach into rows of another group.
#pragma once

#include <cuda_bf16.h>

#include "grouped_tiles.cuh"
#include "ptx.cuh"

namespace fourfold {

__device__ __forceinline__ uint32_t packBf16(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}

// Four lanes of a quad hold, for four blocks of 8 columns, one pair each: afterwards lane q holds all of block q.
__device__ __forceinline__ void transposeQuad(uint32_t (&v)[4], int lane) {
    bool odd = lane & 1;
    bool high = lane & 2;
    // Exchange with the neighbour, then with the other pair.
    uint32_t s0 = odd ? v[0] : v[1];
    uint32_t s1 = odd ? v[2] : v[3];
    s0 = __shfl_xor_sync(0xffffffffu, s0, 1);
    s1 = __shfl_xor_sync(0xffffffffu, s1, 1);
    if (odd) {
        v[0] = s0;
        v[2] = s1;
    } else {
        v[1] = s0;
        v[3] = s1;
    }
    s0 = high ? v[0] : v[2];
    s1 = high ? v[1] : v[3];
    s0 = __shfl_xor_sync(0xffffffffu, s0, 2);
    s1 = __shfl_xor_sync(0xffffffffu, s1, 2);
    if (high) {
        v[0] = s0;
        v[1] = s1;
    } else {
        v[2] = s0;
        v[3] = s1;
    }
}

// Writes this warpgroup's 64 x 256 accumulators as BF16. rowsLeft and colsLeft count from the warpgroup's corner.
__device__ __forceinline__ void storeBf16(
    const float (&d)[128], __nv_bfloat16* corner, long stride, int rowsLeft, int colsLeft, int thread) {
    int lane = thread & 31;
    int row = (thread >> 5) * 16 + (lane >> 2);
    int quad = lane & 3;
#pragma unroll
    for (int j = 0; j < 8; ++j) {  // 32 columns at a time
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint32_t v[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                v[i] = packBf16(d[j * 16 + i * 4 + half * 2], d[j * 16 + i * 4 + half * 2 + 1]);
            }
            transposeQuad(v, lane);
            int r = row + half * 8;
            int col = j * 32 + quad * 8;
            if (r < rowsLeft && col < colsLeft) {
                *reinterpret_cast<uint4*>(corner + r * stride + col) = make_uint4(v[0], v[1], v[2], v[3]);
            }
        }
    }
}

// Hands a warpgroup's 64 x 256 BF16 results to the copy engine in boxes of 64 x 64, which stores them while the next tile is
// computed. pair(i, half): columns 8 i + 2 (lane % 4) and the next, of row lane / 4 + 8 half of the warp's 16.
template <class Pair>
__device__ __forceinline__ void storeBf16Boxes(
    const CUtensorMap* mapC, char* staging, int col, int row, int thread, int barrier, Pair pair) {
    static_assert(kStagingBytes == 64 * 64 * 2);
    int lane = thread & 31;
    int rowIn = (thread >> 5) * 16 + (lane & 15);  // the row whose address this lane gives
    uint32_t line = sharedAddress(staging) + rowIn * 128;
#pragma unroll
    for (int j = 0; j < kTileCols / 64; ++j) {
        uint32_t buffer = j % kStagingBuffers * kStagingBytes;
        if (thread == 0) {
            bulkWaitRead<kStagingBuffers - 1>();
        }
        namedBarrier(barrier, 128);
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            int chunk = (i + lane / 16) ^ (rowIn & 7);  // the 128-byte swizzle of the tensor map
            storeFragments(
                line + buffer + chunk * 16, pair(j * 8 + i, 0), pair(j * 8 + i, 1), pair(j * 8 + i + 1, 0),
                pair(j * 8 + i + 1, 1));
        }
        fenceAsyncProxy();
        namedBarrier(barrier, 128);
        if (thread == 0) {
            storeBox(mapC, sharedAddress(staging) + buffer, col + j * 64, row);
            bulkCommit();
        }
    }
}

// Writes the sum of squares of each warp's part of the accumulators, always added up in the same order, to sums[warp].
template <int kCount>
__device__ __forceinline__ void storeSquares(const float (&d)[kCount], float* sums, int thread) {
    float part[4] = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
        part[i % 4] = fmaf(d[i], d[i], part[i % 4]);
    }
    float sum = (part[0] + part[1]) + (part[2] + part[3]);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    if (thread % 32 == 0) {
        sums[thread / 32] = sum;
    }
}

// Hands this warpgroup's accumulators to the copy engine in boxes of 64 x 32 FP32, which stores or adds them while the next
// tile is computed. One writer per element and launch, so an accumulating result does not depend on any order.
template <bool kAccumulate>
__device__ __forceinline__ void storeFp32(
    const float (&d)[128], const CUtensorMap* mapC, char* staging, int col, int row, int group, int thread, int barrier) {
    int lane = thread & 31;
    int rowIn = (thread >> 5) * 16 + (lane >> 2);
    int quad = lane & 3;
#pragma unroll
    for (int j = 0; j < kTileCols / kStagingCols; ++j) {
        char* buffer = staging + j % kStagingBuffers * kStagingBytes;
        if (thread == 0) {
            bulkWaitRead<kStagingBuffers - 1>();
        }
        namedBarrier(barrier, 128);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int r = rowIn + half * 8;
                int chunk = (i * 2 + quad / 2) ^ (r & 7);  // the 128-byte swizzle of the tensor map
                *reinterpret_cast<float2*>(buffer + r * 128 + chunk * 16 + quad % 2 * 8) =
                    make_float2(d[j * 16 + i * 4 + half * 2], d[j * 16 + i * 4 + half * 2 + 1]);
            }
        }
        fenceAsyncProxy();
        namedBarrier(barrier, 128);
        if (thread == 0) {
            if constexpr (kAccumulate) {
                addBox3d(mapC, sharedAddress(buffer), col + j * kStagingCols, row, group);
            } else {
                storeBox3d(mapC, sharedAddress(buffer), col + j * kStagingCols, row, group);
            }
            bulkCommit();
        }
    }
}

}  // namespace fourfold
