// NVFP4 operands as FP4 tensor cores read them (compute capability 10.0 and later): E2M1 codes with K contiguous, two a byte,
// rows padded to whole 64 elements, and E4M3 scales in the library's order of 128 x 4 tiles. Same rounding, amax and random
// bytes as nvfp4_emulate.cu, bit for bit docs/numerics.md. Where a group's codes and scales begin: kernels.quant.Nvfp4Layout.
//
//   by rows     operand [rows, cols] of each group, K = cols
//   by columns  operand [cols, rows] of each group, K = rows; optionally transformed first
//   tiles       one scale for 16 x 16 elements, either way round
//
// A warp takes 16 rows of the source by 32 columns at a time; a lane one block of 16: of a row, or of a column. Padding is
// zero before. These kernels run on any GPU; only the product needs FP4 tensor cores.

#include "quantize/fp4_layout.cuh"
#include "quantize/groups.cuh"
#include "quantize/load.cuh"
#include "quantize/nvfp4.cuh"
#include "quantize/packed.cuh"
#include "quantize/random_bytes.cuh"
#include "quantize/tile.cuh"

namespace fourfold {

constexpr int kWarps = 8;

struct Options {
    bool byColumns;
    bool hadamard;
    bool tiles;
    bool paper;
};

template <class T, bool kStochastic>
__device__ __forceinline__ void encode(
    const T* x, int cols, const Groups& groups, const float* amax, float* scale, const Options& options,
    const RandomStream& random, const Codes& out) {
    if (blockIdx.x == 0 && blockIdx.y == 0) {
        for (int g = threadIdx.x; g < groups.count; g += blockDim.x) {
            scale[g] = __fmul_rn(__ldg(amax + g), 1.0f / 2688.0f);
        }
    }
    RowSpan span;
    int firstRow;
    if (!spanOfBlock(groups, blockIdx.x * kWarps + threadIdx.x / 32, span, firstRow)) {
        return;
    }
    TensorScale tensor = tensorScale(__ldg(amax + span.group), options.paper);
    int lane = threadIdx.x % 32;
    int rowsLeft = span.end - span.begin - firstRow;
    const T* from = x + long(span.begin + firstRow) * cols;
    int base = blockIdx.y * 32;
    int row = options.byColumns ? 0 : lane % 16;
    int col = base + (options.byColumns ? lane : lane / 16 * 16);
    bool present = col < cols && (options.byColumns || row < rowsLeft);
    float v[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        int r = options.byColumns ? i : row;
        int c = options.byColumns ? col : col + i;
        v[i] = r < rowsLeft && c < cols ? toFloat(from[long(r) * cols + c]) : 0.f;
    }
    if (options.hadamard) {
        transform16(v);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            v[i] = __bfloat162float(__float2bfloat16_rn(__fmul_rn(v[i], 0.25f)));
        }
    }
    float blockAmax = 0.f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        blockAmax = fmaxf(blockAmax, fabsf(v[i]));
    }
    if (options.tiles) {
#pragma unroll
        for (int distance = 1; distance < 16; distance *= 2) {
            blockAmax = fmaxf(blockAmax, __shfl_xor_sync(0xffffffffu, blockAmax, distance));
        }
    }
    if (!present) {
        return;
    }
    uint32_t scaleByte = blockScaleByte(blockAmax, tensor, options.paper);
    float factor = encodeFactor(decodeE4m3(scaleByte), tensor);
    uint4 drawn = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        float magnitude = fabsf(__fmul_rn(v[i], factor));
        float q;
        if constexpr (kStochastic) {
            if (options.byColumns || i == 0) {
                drawn = randomBytes(random, span, firstRow + (options.byColumns ? i : row), col / 16);
            }
            int byte = options.byColumns ? col % 16 : i;
            uint32_t word = byte < 4 ? drawn.x : byte < 8 ? drawn.y : byte < 12 ? drawn.z : drawn.w;
            q = roundE2m1Stochastic(magnitude, byteAsFraction(word, byte % 4)).value;
        } else {
            q = roundE2m1(magnitude).value;
        }
        v[i] = withSignOf(q, v[i]);
    }
    storeBlock(out, groups, span, options.byColumns, cols, options.byColumns ? col : firstRow + row,
               options.byColumns ? firstRow / 16 : col / 16, packCodes(v), scaleByte);
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// starts[g] = the sizes of the groups before g, each rounded up to `unit`. One thread.
extern "C" __global__ void nvfp4_group_starts(
    const int* __restrict__ offsets, int groups, int unit, int* __restrict__ starts) {
    int sum = 0;
    for (int g = 0; g < groups; ++g) {
        starts[g] = sum;
        sum += roundUp(offsets[g + 1] - offsets[g], unit);
    }
    starts[groups] = sum;
}

// Grid: (ceil(blocks of 16 rows / 8), ceil(cols / 32)), block 256. codes and scales are zero before.
#define FOURFOLD_CODES(suffix, T, name, stochastic)                                                                     \
    extern "C" __global__ void __launch_bounds__(256) nvfp4_codes##name##_##suffix(                                            \
        const T* __restrict__ x, int cols, const int* __restrict__ offsets, const int* __restrict__ blocks,            \
        int groups, int groupRows, const float* __restrict__ amax, float* __restrict__ scale, int byColumns,           \
        int hadamard, int tiles, int paper, uint64_t seed, uint32_t step, uint32_t tensorId,                           \
        const int* __restrict__ rowIds, const int* __restrict__ columnGroups, const int* __restrict__ starts,          \
        uint8_t* __restrict__ codes, uint8_t* __restrict__ scales) {                                                   \
        encode<T, stochastic>(x, cols, Groups{offsets, blocks, groups, groupRows}, amax, scale,                                       \
               Options{byColumns != 0, hadamard != 0, tiles != 0, paper != 0},                       \
               RandomStream{seed, step, tensorId, static_cast<uint32_t>(byColumns), rowIds, columnGroups},             \
               Codes{codes, scales, starts});                                                                          \
    }

FOURFOLD_CODES(bf16, __nv_bfloat16, , false)
FOURFOLD_CODES(bf16, __nv_bfloat16, _sr, true)
FOURFOLD_CODES(fp32, float, , false)
FOURFOLD_CODES(fp32, float, _sr, true)

// out[row, k] = code * block scale * tensor scale of a whole matrix. Grid: any, block 256.
extern "C" __global__ void __launch_bounds__(256) nvfp4_codes_values(
    const uint8_t* __restrict__ codes, const uint8_t* __restrict__ scales, const float* __restrict__ scale, int rows,
    int depth, float* __restrict__ out) {
    int stored = roundUp(depth, kDepthUnit);
    long elements = long(rows) * depth;
    for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += long(gridDim.x) * blockDim.x) {
        int row = static_cast<int>(i / depth);
        int k = static_cast<int>(i - long(row) * depth);
        uint32_t code = codes[long(row) * (stored / 2) + k / 2] >> (k % 2 * 4) & 0xFu;
        float value = decodeE4m3((code & 7u) << 2 | (code & 8u) << 4) * (1.0f / kCodeUnit);
        float decoded = decodeE4m3(scales[scalePosition(row, k / 16, stored)]);
        out[i] = __fmul_rn(__fmul_rn(value, decoded), __ldg(scale));
    }
}
