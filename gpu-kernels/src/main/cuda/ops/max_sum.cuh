// The largest of some numbers and the sum of their exponentials relative to it, mergeable in any order: what softmax and
// log-sum-exp need, found in one pass.
#pragma once

#include "vector.cuh"

namespace fourfold {

struct MaxSum {
    float largest, sum;

    __device__ __forceinline__ void merge(float otherLargest, float otherSum) {
        float m = fmaxf(largest, otherLargest);
        // exp(-inf - -inf) would be NaN: an empty side counts nothing.
        float a = largest == -INFINITY ? 0.f : sum * expf(largest - m);
        float b = otherLargest == -INFINITY ? 0.f : otherSum * expf(otherLargest - m);
        largest = m;
        sum = a + b;
    }
};

// Of one row, by a block of kThreads threads (a multiple of a warp's, at most 1024); the same in every thread.
template <int kThreads>
__device__ __forceinline__ MaxSum maxSumOfRow(const float* row, int length, bool wide) {
    MaxSum mine = {-INFINITY, 0.f};
#pragma unroll 2
    for (int at = threadIdx.x * kVector; at < length; at += kThreads * kVector) {
        float z[kVector];
        load8(row + at, length - at, wide, z);
        float largest = mine.largest;
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            z[i] = at + i < length ? z[i] : -INFINITY;
            largest = fmaxf(largest, z[i]);
        }
        float base = largest == -INFINITY ? 0.f : largest;
        float sum = mine.largest == -INFINITY ? 0.f : mine.sum * expf(mine.largest - base);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            sum += expf(z[i] - base);
        }
        mine = {largest, sum};
    }
    __shared__ MaxSum warps[kWarp];
    for (int step = kWarp / 2; step > 0; step /= 2) {
        mine.merge(__shfl_xor_sync(kAllLanes, mine.largest, step), __shfl_xor_sync(kAllLanes, mine.sum, step));
    }
    if (threadIdx.x % kWarp == 0) {
        warps[threadIdx.x / kWarp] = mine;
    }
    __syncthreads();
    int lane = threadIdx.x % kWarp;
    mine = lane < kThreads / kWarp ? warps[lane] : MaxSum{-INFINITY, 0.f};
    for (int step = kWarp / 2; step > 0; step /= 2) {
        mine.merge(__shfl_xor_sync(kAllLanes, mine.largest, step), __shfl_xor_sync(kAllLanes, mine.sum, step));
    }
    return mine;
}

}  // namespace fourfold
