// Rows that SwiGLU takes, and its results on the way into E4M3 codes: rounded to BF16 as activation.cu stores them, so that codes
// and factors are the same bits as through memory.
#pragma once

#include "../ops/gate.cuh"
#include "fp8_tile.cuh"

namespace fourfold {

struct ActivationSource {
    const __nv_bfloat16* in;   // [R, 2 * width] = [gate | up]
    const float* probability;  // null = 1
    int width;

    __device__ __forceinline__ const __nv_bfloat16* row(int r) const { return in + long(r) * 2 * width; }
    __device__ __forceinline__ float probabilityOf(int r) const {
        return probability == nullptr ? 1.f : __ldg(probability + r);
    }
};

__device__ __forceinline__ void pack(const float (&v)[8], Octet<__nv_bfloat16>& to) {
    to.q = make_uint4(packBf16Pair(v[0], v[1]), packBf16Pair(v[2], v[3]), packBf16Pair(v[4], v[5]), packBf16Pair(v[6], v[7]));
}

}  // namespace fourfold
