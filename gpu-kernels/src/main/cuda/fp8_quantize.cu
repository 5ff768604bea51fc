// E4M3 operands as bytes for tensor cores, which take both operands with K contiguous: codes along the rows in the layout of
// the source, codes along the columns transposed, and both from one read of the source. Formulas: quantize/fp8.cuh, bit-equal
// to the CPU oracle; which factors: Fp8Scaling. With factors for blocks there is no pass for an amax; with one factor a group,
// its amax comes from whoever wrote the values, from fp8_amax_* for a whole matrix, or from group_amax_* of nvfp4_emulate.cu.
//
//   rows      [rows, cols] as the source
//   columns   equal groups: [G, cols, stride], zeros from the last row to the stride. Ragged groups: [cols, stride]; group g
//             begins at starts[g], a multiple of 128, and is padded with zeros to the next one.
//
// cols and stride are multiples of 16, the source is 16-byte aligned.

#include "quantize/fp8_tile.cuh"

namespace fourfold {

// Over the lanes of a warp, each with its own.
__device__ __forceinline__ int prefixSum(int x) {
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        int other = __shfl_up_sync(0xffffffffu, x, distance);
        x += int(threadIdx.x % 32) >= distance ? other : 0;
    }
    return x;
}

}  // namespace fourfold

namespace fourfold {

constexpr int kAmaxOctets = 8;  // of a thread: in flight at once

// The largest magnitude of n = 8 * octets values, from the last to the first: what was written last is in the L2 cache.
template <class T>
__device__ __forceinline__ void amaxOfAll(const T* x, long octets, float* amax) {
    __shared__ uint32_t largest[kFp8Threads / 32];
    long first = long(gridDim.x - 1 - blockIdx.x) * kFp8Threads * kAmaxOctets + threadIdx.x;
    Octet<T> raw[kAmaxOctets];
#pragma unroll
    for (int i = 0; i < kAmaxOctets; ++i) {
        raw[i].clear();
        if (first + i * kFp8Threads < octets) {
            raw[i].loadCached(x + (first + i * kFp8Threads) * 8);
        }
    }
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < kAmaxOctets; ++i) {
        float v[8];
        raw[i].values(v);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            bits = max(bits, magnitudeBits(v[j]));
        }
    }
    bits = __reduce_max_sync(0xffffffffu, bits);
    if (threadIdx.x % 32 == 0) {
        largest[threadIdx.x / 32] = bits;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        recordAmax(threadIdx.x < kFp8Threads / 32 ? largest[threadIdx.x] : 0, amax);
    }
}

}  // namespace fourfold

using fourfold::Fp8Scaling;
using fourfold::prefixSum;

// kernels -----------------------------------------------------------------------------------------------------------

// starts[g]: where padded group g begins, a multiple of 128; starts[groups]: their end. amax[g]: set to zero; null = there is none.
// One block of 1024 threads.
extern "C" __global__ void __launch_bounds__(1024) fp8_starts(
    const int* __restrict__ offsets, int groups, int* __restrict__ starts, float* __restrict__ amax) {
    __shared__ int sums[32];
    int g = threadIdx.x;
    int lane = g % 32;
    if (amax != nullptr && g < groups) {
        amax[g] = 0.f;
    }
    int own = g < groups ? (__ldg(offsets + g + 1) - __ldg(offsets + g) + 127) / 128 * 128 : 0;
    int before = prefixSum(own);
    if (lane == 31) {
        sums[g / 32] = before;
    }
    __syncthreads();
    int warps = prefixSum(sums[lane]) - sums[lane];  // what lies before warp number `lane`
    before += __shfl_sync(0xffffffffu, warps, g / 32);
    if (g < groups) {
        starts[g + 1] = before;
    }
    if (g == 0) {
        starts[0] = 0;
    }
}

// amax[0], zero before: the largest magnitude of 8 * octets values. Grid ceil(octets / 2048), block 256.
#define FOURFOLD_FP8_AMAX(name, T)                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                         \
        name(const T* __restrict__ x, long octets, float* __restrict__ amax) {                \
        fourfold::amaxOfAll(x, octets, amax);                                                 \
    }
FOURFOLD_FP8_AMAX(fp8_amax_bf16, __nv_bfloat16)
FOURFOLD_FP8_AMAX(fp8_amax_fp32, float)

// Grid (tiles along the rows: of all groups, or stride / 128 for ragged ones; ceil(cols / 128)), block 256.
#define FOURFOLD_FP8_TILES(name, scaling, T, resident)                                                                  \
    extern "C" __global__ void __launch_bounds__(256, resident)                                                         \
        name(const T* __restrict__ x, int cols, const int* __restrict__ offsets, const int* __restrict__ starts,        \
             int groups, int groupRows, const float* __restrict__ amax, uint8_t* __restrict__ rowCodes,                 \
             uint8_t* __restrict__ columnCodes, float* __restrict__ rowScale, float* __restrict__ columnScale,          \
             int rowScaleStride, int stride) {                                                                          \
        fourfold::quantizeTile<scaling>(                                                                                \
            x, fourfold::Fp8Source{cols, fourfold::Groups{offsets, nullptr, groups, groupRows}, starts, amax},          \
            fourfold::Fp8Copies{rowCodes, columnCodes, rowScale, columnScale, rowScaleStride, stride});                 \
    }

FOURFOLD_FP8_TILES(fp8_group_bf16, Fp8Scaling::kGroup, __nv_bfloat16, 4)
FOURFOLD_FP8_TILES(fp8_group_fp32, Fp8Scaling::kGroup, float, 2)
FOURFOLD_FP8_TILES(fp8_vectors_bf16, Fp8Scaling::kVectors, __nv_bfloat16, 3)
FOURFOLD_FP8_TILES(fp8_vectors_fp32, Fp8Scaling::kVectors, float, 2)
FOURFOLD_FP8_TILES(fp8_squares_bf16, Fp8Scaling::kSquares, __nv_bfloat16, 3)
FOURFOLD_FP8_TILES(fp8_squares_fp32, Fp8Scaling::kSquares, float, 2)
