// SwiGLU of a tile of 128 x 128 straight into E4M3 codes: the activated values stay in registers, rounded to BF16 as
// activation.cu stores them, so codes and factors are the same bits as through memory.
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

template <Fp8Scaling kScaling>
__device__ __forceinline__ void activateTile(const ActivationSource& x, const Fp8Source& from, const Fp8Copies& to) {
    Fp8TilePlace place;
    if constexpr (kScaling == Fp8Scaling::kGroup) {
        writeGroupScales(from, to);
    }
    Fp8TileIndex tile = tileOfPanel();
    if (!locateTile(from.groups, from.starts, tile.row, place)) {
        return;
    }
    int slot = threadIdx.x / 16;
    int col = tile.column * kFp8Tile + threadIdx.x % 16 * 8;
    Octet<__nv_bfloat16> raw[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        raw[i].clear();
        if (slot * 8 + i < place.present) {
            int row = place.source + slot * 8 + i;
            const __nv_bfloat16* at = x.row(row) + col;
            Octet<__nv_bfloat16> gate, up;
            gate.load(at);
            up.load(at + x.width);
            float p = x.probabilityOf(row);
            float g[8], u[8];
            gate.values(g);
            up.values(u);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                g[j] = swiglu(g[j], u[j], p);
            }
            pack(g, raw[i]);
        }
    }
    quantizeOctets<kScaling>(raw, place, tile.column, gridDim.y, from, to);
}

}  // namespace fourfold
