// MXFP4 operands for tensor cores that have no FP4 (Hopper): every element becomes code * block scale, which BF16 holds
// exactly, in the layout of the source, so that a BF16 product is the MXFP4 product. With s = 2^ceil(log2(amax_block / 6)):
//
//   value = E2M1(x / s) * s       nearest even, or stochastic with the bytes of quantize/random_bytes.cuh
//
//   rows      blocks of 1 x 32 along a row; a lane has half of one
//   columns   blocks of 32 x 1 along the rows (K = rows), starting at each group's first row; a lane has two of them
//
// There is no scale for the whole tensor. Blocks at the end may be short. Rows behind the last group are left alone. sums:
// telemetry (quantize/measure.cuh), null for none.

#include "quantize/groups.cuh"
#include "quantize/load.cuh"
#include "quantize/measure.cuh"
#include "quantize/mxfp4.cuh"
#include "quantize/nvfp4.cuh"
#include "quantize/random_bytes.cuh"
#include "quantize/tile.cuh"

namespace fourfold {

constexpr int kWarps = 8;
constexpr int kBlock = 32;
constexpr int kColumnStrip = 512;  // columns one warp walks

enum class Rounding { kNearest, kStochastic, kMeasured };  // kMeasured: either, and gathers statistics

// The value of an element: rounded(x * encode) * decode with the sign of x.
__device__ __forceinline__ float emulate(float x, const Mxfp4Scale& scale, bool stochastic, uint32_t word, uint32_t index) {
    float magnitude = fabsf(__fmul_rn(x, scale.encode));
    float q = stochastic ? roundE2m1Stochastic(magnitude, byteAsFraction(word, index)).value : roundE2m1(magnitude).value;
    return __uint_as_float(__float_as_uint(__fmul_rn(q, scale.decode)) | (__float_as_uint(x) & 0x80000000u));
}

template <Rounding kRounding>
__device__ __forceinline__ bool draws(bool stochastic) {
    return kRounding == Rounding::kStochastic || (kRounding == Rounding::kMeasured && stochastic);
}

template <class T, Rounding kRounding>
__device__ __forceinline__ void emulateRows(
    const T* x, int rows, int cols, const Groups& groups, const RandomStream& random, bool stochastic, __nv_bfloat16* out,
    double* sums) {
    int row = blockIdx.x * kWarps + threadIdx.x / 32;
    RowSpan span;
    if (row >= rows || !spanOfRow(groups, row, span)) {
        return;
    }
    bool vector = cols % 16 == 0 && aligned(x, 16) && aligned(out, 16);
    [[maybe_unused]] QuantSums statistics;
    for (int base = 0; base < cols; base += 512) {
        int col = base + threadIdx.x % 32 * 16;
        bool inside = col < cols;
        float v[16] = {};
        uint32_t bits = 0;
        if (inside) {
            load16(x + long(row) * cols + col, cols - col, vector, v);
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            bits = max(bits, magnitudeBits(v[i]));
        }
        bits = max(bits, __shfl_xor_sync(0xffffffffu, bits, 1));
        if (!inside) {
            continue;
        }
        Mxfp4Scale scale = mxfp4Scale(bits);
        uint32_t words[4] = {};
        if (draws<kRounding>(stochastic)) {
            uint4 drawn = randomBytes(random, span, row - span.begin, col / 16);
            words[0] = drawn.x;
            words[1] = drawn.y;
            words[2] = drawn.z;
            words[3] = drawn.w;
        }
        if constexpr (kRounding == Rounding::kMeasured) {
            if (col % kBlock == 0) {
                statistics.addBlock(__uint_as_float(bits), scale.decode);
            }
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            float input = v[i];
            v[i] = emulate(input, scale, draws<kRounding>(stochastic), words[i / 4], i % 4);
            if constexpr (kRounding == Rounding::kMeasured) {
                if (col + i < cols) {
                    statistics.addElement(input, v[i], scale.encode, scale.decode, 1.0f, 6.0f);
                }
            }
        }
        store16(out + long(row) * cols + col, cols - col, vector, v);
    }
    if constexpr (kRounding == Rounding::kMeasured) {
        statistics.flush(sums);
    }
}

// Random words of a warp's 32 rows x 64 columns: each lane draws those of its row, all share them. Blocks behind the last
// column repeat the last one; nothing is rounded with them. The odd stride spreads the rows over the banks.
struct BlockWords {
    uint32_t word[kBlock][17];
};

__device__ __forceinline__ void drawBlockWords(
    const RandomStream& random, const RowSpan& span, int firstRow, int col, int cols, BlockWords& words) {
    int row = threadIdx.x % 32;
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < 4; ++i) {
        uint4 drawn = randomBytes(random, span, firstRow + row, min(col / 16 + i, (cols - 1) / 16));
        words.word[row][i * 4] = drawn.x;
        words.word[row][i * 4 + 1] = drawn.y;
        words.word[row][i * 4 + 2] = drawn.z;
        words.word[row][i * 4 + 3] = drawn.w;
    }
    __syncwarp();
}

// Two neighbouring elements as they are stored: a block of 32 rows of them stays in registers.
struct PairBf16 {
    uint32_t raw;
    __device__ __forceinline__ void load(const __nv_bfloat16* from) { raw = __ldg(reinterpret_cast<const uint32_t*>(from)); }
    __device__ __forceinline__ void set(float2 v) { raw = packBf16Pair(v.x, v.y); }
    __device__ __forceinline__ float2 get() const { return unpackBf16(raw); }
};

struct PairFp32 {
    float2 raw;
    __device__ __forceinline__ void load(const float* from) { raw = __ldg(reinterpret_cast<const float2*>(from)); }
    __device__ __forceinline__ void set(float2 v) { raw = v; }
    __device__ __forceinline__ float2 get() const { return raw; }
};

// Rounds a block of 32 rows of two columns and stores it. kWhole: all rows and both columns exist and are aligned.
template <Rounding kRounding, bool kWhole, class Pair>
__device__ __forceinline__ void roundPairs(
    const Pair (&v)[kBlock], const Mxfp4Scale (&scale)[2], bool stochastic, const BlockWords& words, __nv_bfloat16* out,
    int cols, int present, int columns, bool vector, QuantSums& statistics) {
    bool draw = draws<kRounding>(stochastic);
    uint32_t index = threadIdx.x % 2 * 2;
#pragma unroll
    for (int i = 0; i < kBlock; ++i) {
        if (!kWhole && i >= present) {
            continue;
        }
        float2 input = v[i].get();
        uint32_t word = draw ? words.word[i][threadIdx.x % 32 / 2] : 0;
        float a = emulate(input.x, scale[0], draw, word, index);
        float b = emulate(input.y, scale[1], draw, word, index + 1);
        if constexpr (kRounding == Rounding::kMeasured) {
            if (columns > 0) {
                statistics.addElement(input.x, a, scale[0].encode, scale[0].decode, 1.0f, 6.0f);
            }
            if (columns > 1) {
                statistics.addElement(input.y, b, scale[1].encode, scale[1].decode, 1.0f, 6.0f);
            }
        }
        storePair(out + long(i) * cols, kWhole ? 2 : columns, kWhole || vector, a, b);
    }
}

template <class T, class Pair, Rounding kRounding>
__device__ __forceinline__ void emulateColumns(
    const T* x, int cols, const Groups& groups, const RandomStream& random, bool stochastic, __nv_bfloat16* out,
    double* sums) {
    __shared__ BlockWords shared[kRounding != Rounding::kNearest ? kWarps : 1];
    BlockWords& words = shared[kRounding != Rounding::kNearest ? threadIdx.x / 32 : 0];
    RowSpan span;
    int firstRow;
    if (!spanOfBlock<kBlock>(groups, blockIdx.x * kWarps + threadIdx.x / 32, span, firstRow)) {
        return;
    }
    int present = min(kBlock, span.end - span.begin - firstRow);
    long first = long(span.begin + firstRow) * cols;
    QuantSums statistics;
    int strip = blockIdx.y * kColumnStrip;
    bool pairs = cols % 2 == 0 && aligned(x, 2 * sizeof(T)) && aligned(out, 4);
#pragma unroll 1
    for (int base = strip; base < min(cols, strip + kColumnStrip); base += 64) {
        if (draws<kRounding>(stochastic)) {
            drawBlockWords(random, span, firstRow, base, cols, words);
        }
        int col = base + threadIdx.x % 32 * 2;
        int columns = max(0, cols - col);
        bool vector = pairs && columns > 0;
        bool whole = vector && present == kBlock;
        const T* from = x + first + col;
        Pair v[kBlock];
        if (whole) {
#pragma unroll
            for (int i = 0; i < kBlock; ++i) {
                v[i].load(from);
                from += cols;
            }
        } else {
#pragma unroll
            for (int i = 0; i < kBlock; ++i) {
                v[i].set(i < present ? load2(from, columns, vector) : make_float2(0.f, 0.f));
                from += cols;
            }
        }
        uint32_t bits[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < kBlock; ++i) {
            float2 input = v[i].get();
            bits[0] = max(bits[0], magnitudeBits(input.x));
            bits[1] = max(bits[1], magnitudeBits(input.y));
        }
        Mxfp4Scale scale[2] = {mxfp4Scale(bits[0]), mxfp4Scale(bits[1])};
        if constexpr (kRounding == Rounding::kMeasured) {
#pragma unroll
            for (int c = 0; c < 2; ++c) {
                if (c < columns) {
                    statistics.addBlock(__uint_as_float(bits[c]), scale[c].decode);
                }
            }
        }
        __nv_bfloat16* to = out + first + col;
        if (whole && kRounding != Rounding::kMeasured) {
            roundPairs<kRounding, true>(v, scale, stochastic, words, to, cols, kBlock, 2, true, statistics);
        } else {
            roundPairs<kRounding, false>(v, scale, stochastic, words, to, cols, present, columns, vector, statistics);
        }
    }
    if constexpr (kRounding == Rounding::kMeasured) {
        statistics.flush(sums);
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// blocks[g] = how many blocks of 32 rows lie before group g. One block of 1024 threads.
extern "C" __global__ void __launch_bounds__(1024) mxfp4_blocks(
    const int* __restrict__ offsets, int groups, int* __restrict__ blocks) {
    __shared__ int sums[1024];
    int g = threadIdx.x;
    sums[g] = g < groups ? (offsets[g + 1] - offsets[g] + kBlock - 1) / kBlock : 0;
    __syncthreads();
    for (int distance = 1; distance < 1024; distance *= 2) {
        int before = g >= distance ? sums[g - distance] : 0;
        __syncthreads();
        sums[g] += before;
        __syncthreads();
    }
    if (g < groups) {
        blocks[g + 1] = sums[g];
    }
    if (g == 0) {
        blocks[0] = 0;
    }
}

// rows: grid ceil(rows / 8); columns: grid (ceil(blocks of 32 rows / 8), ceil(cols / 512)); block 256.
#define FOURFOLD_MXFP4(suffix, T, Pair, name, rounding)                                                                 \
    extern "C" __global__ void __launch_bounds__(256) mxfp4_rows##name##_##suffix(                                     \
        const T* __restrict__ x, int rows, int cols, const int* __restrict__ offsets, int groups, int groupRows,       \
        int stochastic, uint64_t seed, uint32_t step, uint32_t tensorId, const int* __restrict__ rowIds,               \
        const int* __restrict__ columnGroups, __nv_bfloat16* __restrict__ out, double* __restrict__ sums) {            \
        emulateRows<T, Rounding::rounding>(x, rows, cols, Groups{offsets, nullptr, groups, groupRows},                 \
                                           RandomStream{seed, step, tensorId, 0, rowIds, columnGroups},                \
                                           stochastic != 0, out, sums);                                                \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) mxfp4_columns##name##_##suffix(                                  \
        const T* __restrict__ x, int cols, const int* __restrict__ offsets, const int* __restrict__ blocks,            \
        int groups, int groupRows, int stochastic, uint64_t seed, uint32_t step, uint32_t tensorId,                    \
        const int* __restrict__ rowIds, const int* __restrict__ columnGroups, __nv_bfloat16* __restrict__ out,         \
        double* __restrict__ sums) {                                                                                   \
        emulateColumns<T, Pair, Rounding::rounding>(x, cols, Groups{offsets, blocks, groups, groupRows},               \
                                              RandomStream{seed, step, tensorId, 1, rowIds, columnGroups},             \
                                              stochastic != 0, out, sums);                                             \
    }

#define FOURFOLD_MXFP4_ALL(suffix, T, Pair)               \
    FOURFOLD_MXFP4(suffix, T, Pair, , kNearest)           \
    FOURFOLD_MXFP4(suffix, T, Pair, _sr, kStochastic)     \
    FOURFOLD_MXFP4(suffix, T, Pair, _measured, kMeasured)
FOURFOLD_MXFP4_ALL(bf16, __nv_bfloat16, PairBf16)
FOURFOLD_MXFP4_ALL(fp32, float, PairFp32)
