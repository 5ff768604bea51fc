// NVFP4 values of FP32 weights in tiles of 16 x 16 as BF16, bit for bit as nvfp4_emulate.cu makes them, from one launch that
// finds each group's amax in a first pass and quantizes in a second; groups that fit the L2 cache come from memory once. See
// quantize/tile_queue.cuh. Groups have one number of rows, a multiple of 16; cols is a multiple of 16.

#include "quantize/groups.cuh"
#include "quantize/load.cuh"
#include "quantize/nvfp4.cuh"
#include "quantize/tile.cuh"
#include "quantize/tile_queue.cuh"

namespace fourfold {


#if __CUDA_ARCH__ >= 1000
constexpr int kResident = 1;
#else
constexpr int kResident = 3;
#endif

__device__ __forceinline__ void findAmax(const TileQueue& queue, const Tile& tile, const float* from, int cols) {
    int lane = threadIdx.x % 32;
    int end = min(cols, (tile.strip + 1) * queue.strip);
    uint32_t largest = 0;
#pragma unroll 1
    for (int col = tile.strip * queue.strip + lane * 4; col < end; col += 128) {
        float4 values[16];
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            values[i] = __ldg(reinterpret_cast<const float4*>(from + col + long(cols) * i));
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            largest = max(max(largest, magnitudeBits(values[i].x)), magnitudeBits(values[i].y));
            largest = max(max(largest, magnitudeBits(values[i].z)), magnitudeBits(values[i].w));
        }
    }
    raiseAmax(largest, &queue.state->amax[0][tile.span.group]);
    finishFirst(queue, tile.span.group);
}

template <bool kPaper>
__device__ __forceinline__ void quantizeTile(
    const TileQueue& queue, const Tile& tile, const float* from, int cols, const float* amax, __nv_bfloat16* to) {
    awaitFirst(queue, tile.span.group);
    TensorScale tensor = tensorScale(__ldcg(amax + tile.span.group), kPaper);
    int lane = threadIdx.x % 32;
    int end = min(cols, (tile.strip + 1) * queue.strip);
#pragma unroll 1
    for (int base = tile.strip * queue.strip; base < end; base += 64) {
        int col = base + lane * 2;
        bool present = col < cols;
        float2 v[16];
        float largest = 0.f;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            v[i] = present ? __ldg(reinterpret_cast<const float2*>(from + col + long(cols) * i)) : make_float2(0.f, 0.f);
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            largest = fmaxf(largest, fmaxf(fabsf(v[i].x), fabsf(v[i].y)));
        }
#pragma unroll
        for (int distance = 1; distance < 8; distance *= 2) {
            largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
        }
        float decoded = decodeE4m3(blockScaleByte(largest, tensor, kPaper));
        float factor = encodeFactor(decoded, tensor);
        if (!present) {
            continue;
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            float low = roundE2m1(fabsf(__fmul_rn(v[i].x, factor))).value;
            float high = roundE2m1(fabsf(__fmul_rn(v[i].y, factor))).value;
            storePair(to + col + long(cols) * i, 2, true, withSignOf(__fmul_rn(low, decoded), v[i].x),
                      withSignOf(__fmul_rn(high, decoded), v[i].y));
        }
    }
}

template <bool kPaper>
__device__ __forceinline__ void quantizeWeights(
    const float* x, int cols, int groups, int groupRows, QueueState* state, int strip, int ahead, const float* known,
    float* scale, __nv_bfloat16* out) {
    __shared__ int before[kMostGroups + 1];
    Groups equal{nullptr, nullptr, groups, groupRows};
    countBlocks(equal, before, nullptr);
    TileQueue queue{state, equal, before, strip, (cols + strip - 1) / strip, ahead, known != nullptr};
    Tile tile;
    int number = takeNumber(queue);
    while (tileOf(queue, number, tile)) {
        number = takeNumber(queue);
        long start = long(tile.span.begin + tile.firstRow) * cols;
        if (tile.second) {
            quantizeTile<kPaper>(queue, tile, x + start, cols, known == nullptr ? state->amax[0] : known, out + start);
        } else {
            findAmax(queue, tile, x + start, cols);
        }
    }
    leave(queue, scale, state->amax[1], known);  // the second amax is zero and stays so
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// amax [groups]: where it is known, so that there is no first pass; else null. Grid: any; block 256.
#define FOURFOLD_WEIGHTS(name, paper)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256, kResident) nvfp4_weights##name(                                  \
        const float* __restrict__ x, int cols, int groups, int groupRows, void* state, int strip, int ahead,           \
        const float* amax, float* __restrict__ scale, __nv_bfloat16* __restrict__ out) {                               \
        quantizeWeights<paper>(                                                                                        \
            x, cols, groups, groupRows, static_cast<QueueState*>(state), strip, ahead, amax, scale, out);              \
    }
FOURFOLD_WEIGHTS(, false)
FOURFOLD_WEIGHTS(_paper, true)
