// SwiGLU and its backward straight into E4M3 operands with factors of vectors of 128, for experts in FP8: what activation.cu
// writes as BF16 and fp8_quantize.cu reads again stays in registers, rounded to BF16 as there, so codes and factors are the same
// bits. Formulas: activation.cu, quantize/fp8.cuh. Rows in ragged groups, the width a multiple of 128. With one factor a group:
// fp8_activation_group.cu.
//
//   forward    in [R, 2W] = [gate | up]                -> operands of [R, W]
//   backward   dout [R, W], in [R, 2W]                 -> operands of din [R, 2W]; a row's gradient of the probability for each
//              128 columns, which a second kernel adds in their order

#include "quantize/fp8_swiglu.cuh"

namespace fourfold {

__device__ __forceinline__ void activateTile(const ActivationSource& x, const Fp8Source& from, const Fp8Copies& to) {
    Fp8TilePlace place;
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
    quantizeOctets<Fp8Scaling::kVectors>(raw, place, tile.column, gridDim.y, from, to);
}

// from.cols is 2W: this block's tiles are one of the gate's and the one of the same columns of up's, which waits in shared memory.
__device__ __forceinline__ void differentiateTile(
    const __nv_bfloat16* dout, const ActivationSource& x, float* partial, int rows, const Fp8Source& from,
    const Fp8Copies& to) {
    extern __shared__ uint4 waiting[];  // [8][threads]
    Fp8TilePlace place;
    Fp8TileIndex tile = tileOfPanel();
    if (!locateTile(from.groups, from.starts, tile.row, place)) {
        return;
    }
    int octet = threadIdx.x % 16;
    int slot = threadIdx.x / 16;
    int col = tile.column * kFp8Tile + octet * 8;
    Octet<__nv_bfloat16> raw[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        raw[i].clear();
        Octet<__nv_bfloat16> up;
        up.clear();
        float dot = 0.f;
        int row = place.source + slot * 8 + i;
        bool present = slot * 8 + i < place.present;
        if (present) {
            const __nv_bfloat16* at = x.row(row) + col;
            Octet<__nv_bfloat16> upstream, gate;
            upstream.load(dout + long(row) * x.width + col);
            gate.load(at);
            up.load(at + x.width);
            float p = x.probabilityOf(row);
            float d[8], g[8], u[8];
            upstream.values(d);
            gate.values(g);
            up.values(u);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                swigluBackward(d[j], g[j], u[j], p);
                dot += d[j];
            }
            pack(g, raw[i]);
            pack(u, up);
        }
        waiting[i * kFp8Threads + threadIdx.x] = up.q;
#pragma unroll
        for (int distance = 1; distance < 16; distance *= 2) {
            dot += __shfl_xor_sync(0xffffffffu, dot, distance);
        }
        if (present && octet == 0) {
            partial[long(tile.column) * rows + row] = dot;
        }
    }
    int tiles = gridDim.y;
    quantizeOctets<Fp8Scaling::kVectors>(raw, place, tile.column, 2 * tiles, from, to);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        raw[i].q = waiting[i * kFp8Threads + threadIdx.x];
    }
    __syncthreads();  // the first tile has left shared memory
    quantizeOctets<Fp8Scaling::kVectors>(raw, place, tiles + tile.column, 2 * tiles, from, to);
}

}  // namespace fourfold

using fourfold::ActivationSource;
using fourfold::Fp8Copies;
using fourfold::Fp8Source;
using fourfold::Groups;

// kernels -----------------------------------------------------------------------------------------------------------
// Grid (tiles along the rows as in fp8_quantize.cu, width / 128), block 256.

extern "C" __global__ void __launch_bounds__(256, 3) fp8_swiglu(
    const __nv_bfloat16* __restrict__ in, const float* __restrict__ probability, int width,
    const int* __restrict__ offsets, const int* __restrict__ starts, int groups, uint8_t* __restrict__ rowCodes,
    uint8_t* __restrict__ columnCodes, float* __restrict__ rowScale, float* __restrict__ columnScale, int rows, int stride) {
    fourfold::activateTile(ActivationSource{in, probability, width},
                           Fp8Source{width, Groups{offsets, nullptr, groups, 0}, starts, nullptr},
                           Fp8Copies{rowCodes, columnCodes, rowScale, columnScale, rows, stride});
}

// partial [width / 128][rows]. Dynamic shared memory: 32 KiB.
extern "C" __global__ void __launch_bounds__(256, 2) fp8_swiglu_backward(
    const __nv_bfloat16* __restrict__ dout, const __nv_bfloat16* __restrict__ in, const float* __restrict__ probability,
    int width, float* __restrict__ partial, const int* __restrict__ offsets, const int* __restrict__ starts, int groups,
    uint8_t* __restrict__ rowCodes, uint8_t* __restrict__ columnCodes, float* __restrict__ rowScale,
    float* __restrict__ columnScale, int rows, int stride) {
    fourfold::differentiateTile(dout, ActivationSource{in, probability, width}, partial, rows,
                                Fp8Source{2 * width, Groups{offsets, nullptr, groups, 0}, starts, nullptr},
                                Fp8Copies{rowCodes, columnCodes, rowScale, columnScale, rows, stride});
}

// dprobability[row] = sum over tiles of partial[tile][row]; zero for rows of no group. Grid ceil(rows / 256), block 256.
extern "C" __global__ void __launch_bounds__(256) fp8_swiglu_probability(
    const float* __restrict__ partial, int tiles, int rows, const int* __restrict__ offsets, int groups,
    float* __restrict__ dprobability) {
    int row = blockIdx.x * 256 + threadIdx.x;
    if (row >= rows) {
        return;
    }
    float sum = 0.f;
    if (row >= __ldg(offsets) && row < __ldg(offsets + groups)) {
        for (int i = 0; i < tiles; ++i) {
            sum += partial[long(i) * rows + row];
        }
    }
    dprobability[row] = sum;
}
