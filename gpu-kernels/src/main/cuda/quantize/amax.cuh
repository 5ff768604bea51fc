// Largest magnitudes, gathered in any order with the same result.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fourfold {

// Magnitudes as integers keep NaN and infinity on top.
__device__ __forceinline__ uint32_t magnitudeBits(float x) {
    return __float_as_uint(x) & 0x7FFFFFFFu;
}

// Every lane of the warp takes part. A NaN is recorded as infinity: a maximum over ranks may lose NaN.
__device__ __forceinline__ void recordAmax(uint32_t bits, float* amax) {
    bits = min(__reduce_max_sync(0xffffffffu, bits), 0x7F800000u);
    if (threadIdx.x % 32 == 0 && bits > *reinterpret_cast<volatile uint32_t*>(amax)) {
        atomicMax(reinterpret_cast<uint32_t*>(amax), bits);
    }
}

}  // namespace fourfold
