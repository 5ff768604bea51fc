// NVFP4 operands for tensor cores that have no FP4 (Hopper): every element becomes code * block scale, which BF16 holds
// exactly, in the layout of the source. The product of two such operands times both tensor scales is the NVFP4 product.
// Rounding, scales and padding: docs/numerics.md, bit for bit.
//
//   rows      blocks of 1 x 16 along a row
//   columns   blocks of 16 x 1 along the rows (K = rows); with the Hadamard transform first, whole blocks of 16 rows are
//             written, so that group g starts at row 16 * blocks[g] of the output
//   tiles     blocks of 16 x 16
//
// Two launches: the largest magnitude of each group (`amax`, zero before; infinite where a value is not finite), then the
// values. Rows behind the last group are left alone. scale[g] = amax[g] / 2688, the factor of the finished product.

#include "quantize/groups.cuh"
#include "quantize/load.cuh"
#include "quantize/measure.cuh"
#include "quantize/nvfp4.cuh"
#include "quantize/random_bytes.cuh"
#include "quantize/tile.cuh"

namespace fourfold {

constexpr int kWarps = 8;
constexpr int kRowsPerWarp = 4;    // amax: fewer atomic operations
constexpr int kColumnStrip = 512;  // columns one warp walks

// Blocks per multiprocessor the column kernels are compiled for. On sm_100a the same code takes twice the registers.
#if __CUDA_ARCH__ >= 1000
constexpr int kResident = 1;
constexpr int kResidentDrawing = 1;
#else
constexpr int kResident = 3;
constexpr int kResidentDrawing = 2;
#endif

enum class Blocks { kColumns, kColumnsHadamard, kTiles };
enum class Rounding { kNearest, kStochastic, kMeasured };  // kMeasured: either, and gathers statistics

template <class T>
__device__ __forceinline__ void amaxOfRows(const T* x, int rows, int cols, const Groups& groups, float* amax) {
    int lane = threadIdx.x % 32;
    // Up the matrix, from what was written last and is in the L2 cache; the values' pass comes down.
    int first = (int(gridDim.x - 1 - blockIdx.x) * kWarps + int(threadIdx.x / 32)) * kRowsPerWarp;
    bool vector = cols % 16 == 0 && aligned(x, 16);
    uint32_t bits = 0;
    int group = -1;
    for (int row = first; row < min(rows, first + kRowsPerWarp); ++row) {
        RowSpan span;
        if (!spanOfRow(groups, row, span)) {
            continue;
        }
        if (span.group != group) {
            if (group >= 0) {
                recordAmax(bits, amax + group);
            }
            bits = 0;
            group = span.group;
        }
        for (int col = lane * 16; col < cols; col += 512) {
            float v[16];
            load16(x + long(row) * cols + col, cols - col, vector, v);
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                bits = max(bits, magnitudeBits(v[i]));
            }
        }
    }
    if (group >= 0) {
        recordAmax(bits, amax + group);
    }
}

template <class T>
__device__ __forceinline__ void amaxOfTransformed(const T* x, int cols, const Groups& groups, float* amax) {
    RowSpan span;
    int firstRow;
    if (!spanOfBlock(groups, blockIdx.x * kWarps + threadIdx.x / 32, span, firstRow)) {
        return;
    }
    const T* from = x + long(span.begin + firstRow) * cols;
    int rowsLeft = span.end - span.begin - firstRow;
    float largest = 0.f;
    int strip = blockIdx.y * kColumnStrip;
#pragma unroll 1
    for (int col = strip + threadIdx.x % 32 * 2; col < min(cols, strip + kColumnStrip); col += 64) {
        float a[16], b[16];
        loadPair(from, rowsLeft, cols, col, a, b);
        transform16(a);
        transform16(b);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            largest = maxAbs(largest, a[i]);
            largest = maxAbs(largest, b[i]);
        }
    }
    // The factor and the rounding to BF16 are monotonic, so they commute with the maximum.
    recordAmax(magnitudeBits(__bfloat162float(__float2bfloat16_rn(__fmul_rn(largest, 0.25f)))), amax + span.group);
}

__device__ __forceinline__ void writeScales(const Groups& groups, const float* amax, float* scale) {
    if (blockIdx.x == 0 && blockIdx.y == 0) {
        for (int g = threadIdx.x; g < groups.count; g += blockDim.x) {
            scale[g] = __fmul_rn(__ldg(amax + g), 1.0f / 2688.0f);
        }
    }
}

template <Rounding kRounding>
__device__ __forceinline__ float roundedMagnitude(float magnitude, uint32_t word, uint32_t index, bool stochastic) {
    if constexpr (kRounding == Rounding::kStochastic) {
        return roundE2m1Stochastic(magnitude, byteAsFraction(word, index)).value;
    } else if constexpr (kRounding == Rounding::kNearest) {
        return roundE2m1(magnitude).value;
    } else {
        return stochastic ? roundE2m1Stochastic(magnitude, byteAsFraction(word, index)).value : roundE2m1(magnitude).value;
    }
}

template <class T, Rounding kRounding>
__device__ __forceinline__ void emulateRows(
    const T* x, int rows, int cols, const Groups& groups, const float* amax, float* scale, bool paper,
    const RandomStream& random, bool stochastic, __nv_bfloat16* out, double* sums) {
    writeScales(groups, amax, scale);
    int row = blockIdx.x * kWarps + threadIdx.x / 32;
    RowSpan span;
    if (row >= rows || !spanOfRow(groups, row, span)) {
        return;
    }
    TensorScale tensor = tensorScale(__ldg(amax + span.group), paper);
    float product = __fmul_rn(__ldg(amax + span.group), 1.0f / 2688.0f);
    bool vector = cols % 16 == 0 && aligned(x, 16) && aligned(out, 16);
    [[maybe_unused]] QuantSums statistics;
    for (int col = threadIdx.x % 32 * 16; col < cols; col += 512) {
        float v[16];
        load16(x + long(row) * cols + col, cols - col, vector, v);
        float blockAmax = 0.f;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            blockAmax = fmaxf(blockAmax, fabsf(v[i]));
        }
        float decoded = decodeE4m3(blockScaleByte(blockAmax, tensor, paper));
        float factor = encodeFactor(decoded, tensor);
        uint32_t bytes[4] = {};
        if (kRounding == Rounding::kStochastic || (kRounding == Rounding::kMeasured && stochastic)) {
            uint4 words = randomBytes(random, span, row - span.begin, col / 16);
            bytes[0] = words.x;
            bytes[1] = words.y;
            bytes[2] = words.z;
            bytes[3] = words.w;
        }
        if constexpr (kRounding == Rounding::kMeasured) {
            statistics.addBlock(blockAmax, decoded);
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            float input = v[i];
            float q = roundedMagnitude<kRounding>(fabsf(__fmul_rn(input, factor)), bytes[i / 4], i % 4, stochastic);
            v[i] = withSignOf(__fmul_rn(q, decoded), input);
            if constexpr (kRounding == Rounding::kMeasured) {
                if (col + i < cols) {
                    statistics.addElement(input, v[i], factor, decoded, product, 6.0f);
                }
            }
        }
        store16(out + long(row) * cols + col, cols - col, vector, v);
    }
    if constexpr (kRounding == Rounding::kMeasured) {
        statistics.flush(sums);
    }
}

template <class T, Blocks kBlocks, Rounding kRounding>
__device__ __forceinline__ void emulateColumns(
    const T* x, int cols, const Groups& groups, const float* amax, float* scale, bool paper,
    const RandomStream& random, bool stochastic, __nv_bfloat16* out, double* sums) {
    constexpr bool kDraws = kRounding != Rounding::kNearest;
    constexpr bool kHadamard = kBlocks == Blocks::kColumnsHadamard;
    __shared__ WarpWords shared[kDraws ? kWarps : 1];
    writeScales(groups, amax, scale);
    int lane = threadIdx.x % 32;
    int block = blockIdx.x * kWarps + threadIdx.x / 32;
    RowSpan span;
    int firstRow;
    if (!spanOfBlock(groups, block, span, firstRow)) {
        return;
    }
    TensorScale tensor = tensorScale(__ldg(amax + span.group), paper);
    float product = __fmul_rn(__ldg(amax + span.group), 1.0f / 2688.0f);
    int rowsLeft = span.end - span.begin - firstRow;
    const T* from = x + long(span.begin + firstRow) * cols;
    __nv_bfloat16* to = out + (kHadamard ? long(block) * 16 : long(span.begin + firstRow)) * cols;
    int rowsOut = kHadamard ? 16 : rowsLeft;
    [[maybe_unused]] QuantSums statistics;
    int strip = blockIdx.y * kColumnStrip;
    int stripEnd = min(cols, strip + kColumnStrip);
#pragma unroll 1
    for (int base = strip; base < stripEnd; base += 64) {
        int col = base + lane * 2;
        int present = max(0, cols - col);
        bool vector = cols % 2 == 0 && present > 0 && aligned(out, 4);
        float v[2][16];
        if (kRounding == Rounding::kStochastic || (kRounding == Rounding::kMeasured && stochastic)) {
            drawWords(random, span, firstRow, base, cols, shared[threadIdx.x / 32]);
        }
        loadPair(from, rowsLeft, cols, col, v[0], v[1]);
        if constexpr (kHadamard) {
            transform16(v[0]);
            transform16(v[1]);
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                float2 rounded = unpackBf16(packBf16Pair(__fmul_rn(v[0][i], 0.25f), __fmul_rn(v[1][i], 0.25f)));
                v[0][i] = rounded.x;
                v[1][i] = rounded.y;
            }
        }
        float blockAmax[2] = {0.f, 0.f};
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            blockAmax[0] = fmaxf(blockAmax[0], fabsf(v[0][i]));
            blockAmax[1] = fmaxf(blockAmax[1], fabsf(v[1][i]));
        }
        if constexpr (kBlocks == Blocks::kTiles) {
            float m = fmaxf(blockAmax[0], blockAmax[1]);
#pragma unroll
            for (int distance = 1; distance < 8; distance *= 2) {
                m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, distance));
            }
            blockAmax[0] = m;
            blockAmax[1] = m;
        }
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            float decoded = decodeE4m3(blockScaleByte(blockAmax[c], tensor, paper));
            float factor = encodeFactor(decoded, tensor);
            if constexpr (kRounding == Rounding::kMeasured) {
                bool counts = kBlocks == Blocks::kTiles ? lane % 8 == 0 && c == 0 : true;
                if (counts && c < present) {
                    statistics.addBlock(blockAmax[c], decoded);
                }
            }
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                float input = v[c][i];
                uint32_t word = 0;
                if constexpr (kDraws) {
                    word = shared[threadIdx.x / 32][i][lane / 2];
                }
                float q = roundedMagnitude<kRounding>(fabsf(__fmul_rn(input, factor)), word, lane % 2 * 2 + c, stochastic);
                v[c][i] = withSignOf(__fmul_rn(q, decoded), input);
                if constexpr (kRounding == Rounding::kMeasured) {
                    if (c < present && i < rowsOut) {
                        statistics.addElement(input, v[c][i], factor, decoded, product, 6.0f);
                    }
                }
            }
        }
        if (vector && rowsOut >= 16) {
            __nv_bfloat16* at = to + col;
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                storePair(at, 2, true, v[0][i], v[1][i]);
                at += cols;
            }
            continue;
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            if (i < rowsOut) {
                storePair(to + long(i) * cols + col, present, vector, v[0][i], v[1][i]);
            }
        }
    }
    if constexpr (kRounding == Rounding::kMeasured) {
        statistics.flush(sums);
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// blocks[g] = how many blocks of 16 rows lie before group g; padded[g] = 16 times that. One block of 1024 threads.
extern "C" __global__ void __launch_bounds__(1024) group_blocks(
    const int* __restrict__ offsets, int groups, int* __restrict__ blocks, int* __restrict__ padded) {
    __shared__ int sums[1024];
    int g = threadIdx.x;
    sums[g] = g < groups ? (offsets[g + 1] - offsets[g] + 15) / 16 : 0;
    __syncthreads();
    for (int distance = 1; distance < 1024; distance *= 2) {
        int before = g >= distance ? sums[g - distance] : 0;
        __syncthreads();
        sums[g] += before;
        __syncthreads();
    }
    if (g < groups) {
        blocks[g + 1] = sums[g];
        padded[g + 1] = sums[g] * 16;
    }
    if (g == 0) {
        blocks[0] = 0;
        padded[0] = 0;
    }
}

// Grid: ceil(rows / 32), block 256.
#define FOURFOLD_AMAX(suffix, T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256) group_amax_##suffix(                                             \
        const T* __restrict__ x, int rows, int cols, const int* __restrict__ offsets, const int* __restrict__ blocks,  \
        int groups, int groupRows, float* __restrict__ amax) {                                                         \
        amaxOfRows(x, rows, cols, Groups{offsets, blocks, groups, groupRows}, amax);                                   \
    }                                                                                                                  \
    /* Grid: (ceil(blocks of 16 rows / 8), ceil(cols / 512)), block 256. */                                            \
    extern "C" __global__ void __launch_bounds__(256) group_amax_hadamard_##suffix(                                    \
        const T* __restrict__ x, int cols, const int* __restrict__ offsets, const int* __restrict__ blocks,            \
        int groups, int groupRows, float* __restrict__ amax) {                                         \
        amaxOfTransformed(x, cols, Groups{offsets, blocks, groups, groupRows}, amax);                           \
    }

// Grid: ceil(rows / 8), block 256.
#define FOURFOLD_ROWS(suffix, T, name, rounding)                                                                        \
    extern "C" __global__ void __launch_bounds__(256) nvfp4_emulate_rows##name##_##suffix(                             \
        const T* __restrict__ x, int rows, int cols, const int* __restrict__ offsets, const int* __restrict__ blocks,  \
        int groups, int groupRows, const float* __restrict__ amax, float* __restrict__ scale, int paper,               \
        int stochastic, uint64_t seed, uint32_t step, uint32_t tensorId, uint32_t copy,                                \
        const int* __restrict__ rowIds, const int* __restrict__ columnGroups, __nv_bfloat16* __restrict__ out,         \
        double* __restrict__ sums) {                                                                                   \
        emulateRows<T, Rounding::rounding>(x, rows, cols, Groups{offsets, blocks, groups, groupRows}, amax, scale,     \
                                           paper != 0, RandomStream{seed, step, tensorId, copy, rowIds, columnGroups}, \
                                           stochastic != 0, out, sums);                                                \
    }

// Grid: (ceil(blocks of 16 rows / 8), ceil(cols / 512)), block 256.
#define FOURFOLD_COLUMNS(suffix, T, name, mode, rounding)                                                               \
    extern "C" __global__ void __launch_bounds__(                                                                      \
        256, Rounding::rounding == Rounding::kNearest ? kResident : kResidentDrawing)                                  \
        nvfp4_emulate_##name##_##suffix(                                 \
        const T* __restrict__ x, int cols, const int* __restrict__ offsets, const int* __restrict__ blocks,            \
        int groups, int groupRows, const float* __restrict__ amax, float* __restrict__ scale, int paper,               \
        int stochastic, uint64_t seed, uint32_t step, uint32_t tensorId, uint32_t copy,                                \
        const int* __restrict__ rowIds, const int* __restrict__ columnGroups, __nv_bfloat16* __restrict__ out,         \
        double* __restrict__ sums) {                                                                                   \
        emulateColumns<T, Blocks::mode, Rounding::rounding>(                                                           \
            x, cols, Groups{offsets, blocks, groups, groupRows}, amax, scale, paper != 0,                              \
            RandomStream{seed, step, tensorId, copy, rowIds, columnGroups}, stochastic != 0, out, sums);               \
    }

#define FOURFOLD_ALL(suffix, T)                                                                                         \
    FOURFOLD_AMAX(suffix, T)                                                                                           \
    FOURFOLD_ROWS(suffix, T, , kNearest)                                                                               \
    FOURFOLD_ROWS(suffix, T, _sr, kStochastic)                                                                         \
    FOURFOLD_ROWS(suffix, T, _measured, kMeasured)                                                                     \
    FOURFOLD_COLUMNS(suffix, T, columns, kColumns, kNearest)                                                           \
    FOURFOLD_COLUMNS(suffix, T, columns_sr, kColumns, kStochastic)                                                     \
    FOURFOLD_COLUMNS(suffix, T, columns_measured, kColumns, kMeasured)                                                 \
    FOURFOLD_COLUMNS(suffix, T, columns_hadamard, kColumnsHadamard, kNearest)                                          \
    FOURFOLD_COLUMNS(suffix, T, columns_hadamard_sr, kColumnsHadamard, kStochastic)                                    \
    FOURFOLD_COLUMNS(suffix, T, columns_hadamard_measured, kColumnsHadamard, kMeasured)                                \
    FOURFOLD_COLUMNS(suffix, T, tiles, kTiles, kNearest)                                                               \
    FOURFOLD_COLUMNS(suffix, T, tiles_sr, kTiles, kStochastic)                                                         \
    FOURFOLD_COLUMNS(suffix, T, tiles_measured, kTiles, kMeasured)

FOURFOLD_ALL(bf16, __nv_bfloat16)
FOURFOLD_ALL(fp32, float)
