// Both NVFP4 operands of a BF16 matrix [rows, cols] in groups, from one launch: the operand by rows (blocks of 1 x 16) and
// the operand by columns (Hadamard transform, blocks of 16 x 1), each with its own amax and its own random bytes, bit for bit
// as docs/numerics.md says and as nvfp4_emulate.cu makes them one by one. The matrix is read twice: for the two amax, and for
// both sets of values; groups that fit the L2 cache are read from memory once. See quantize/tile_queue.cuh.
//
//   values    code * block scale as BF16: by rows [rows, cols]; by columns [16 * blocks, cols]
//   packed    by columns only: for each block of 16 rows and each column 8 bytes of codes and a scale byte
//
// A warp's tile: 16 rows x some hundred columns, walked 64 columns at a time. The second pass reads these 64 columns along the rows
// and, from the L1 cache, along the columns. cols is a multiple of 16 and rows start at multiples of 16 bytes.

#include "quantize/groups.cuh"
#include "quantize/load.cuh"
#include "quantize/nvfp4.cuh"
#include "quantize/packed.cuh"
#include "quantize/random_bytes.cuh"
#include "quantize/tile.cuh"
#include "quantize/tile_queue.cuh"

namespace fourfold {

constexpr int kWarps = 8;

#if __CUDA_ARCH__ >= 1000
constexpr int kResident = 1;
#else
constexpr int kResident = 3;
#endif

struct Packed {
    uint2* codes;    // [blocks, cols]
    uint8_t* scales;  // [blocks, cols]
};

// 16 rows of two neighbouring columns, zeros behind the last row.
__device__ __forceinline__ void loadColumns(
    const __nv_bfloat16* from, int rowsLeft, int cols, bool present, uint32_t (&raw)[16]) {
    if (rowsLeft >= 16 && present) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            raw[i] = __ldg(reinterpret_cast<const uint32_t*>(from));
            from += cols;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            raw[i] = i < rowsLeft && present ? __ldg(reinterpret_cast<const uint32_t*>(from + long(i) * cols)) : 0;
        }
    }
}

__device__ __forceinline__ void splitPairs(const uint32_t (&raw)[16], float (&a)[16], float (&b)[16]) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        float2 pair = unpackBf16(raw[i]);
        a[i] = pair.x;
        b[i] = pair.y;
    }
}

// Rows and transformed columns of a tile in one read.
__device__ __forceinline__ void findAmax(const TileQueue& queue, const Tile& tile, const __nv_bfloat16* from, int cols) {
    int rowsLeft = tile.span.end - tile.span.begin - tile.firstRow;
    float ofRows = 0.f;
    float ofColumns = 0.f;
    int end = min(cols, (tile.strip + 1) * queue.strip);
#pragma unroll 1
    for (int col = tile.strip * queue.strip + threadIdx.x % 32 * 2; col < end; col += 64) {
        uint32_t raw[16];
        loadColumns(from + col, rowsLeft, cols, true, raw);
        float a[16], b[16];
        splitPairs(raw, a, b);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            ofRows = maxAbs(ofRows, a[i]);
            ofRows = maxAbs(ofRows, b[i]);
        }
        transform16(a);
        transform16(b);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            ofColumns = maxAbs(ofColumns, a[i]);
            ofColumns = maxAbs(ofColumns, b[i]);
        }
    }
    raiseAmax(magnitudeBits(ofRows), &queue.state->amax[0][tile.span.group]);
    // The factor and the rounding to BF16 are monotonic, so they commute with the maximum.
    raiseAmax(magnitudeBits(__bfloat162float(__float2bfloat16_rn(__fmul_rn(ofColumns, 0.25f)))),
               &queue.state->amax[1][tile.span.group]);
    finishFirst(queue, tile.span.group);
}

// The magnitude of what E2M1 holds nearest to, or by chance next to, input * factor.
template <bool kStochastic>
__device__ __forceinline__ float rounded(float input, float factor, uint32_t word, uint32_t index) {
    float magnitude = fabsf(__fmul_rn(input, factor));
    return kStochastic ? roundE2m1Stochastic(magnitude, byteAsFraction(word, index)).value : roundE2m1(magnitude).value;
}

constexpr uint32_t kSignBits = 0x80008000u;

// Two magnitudes times their scales, which BF16 holds, with the signs of the inputs.
__device__ __forceinline__ uint32_t scaledPair(float low, float high, uint32_t scales, uint32_t inputs) {
    uint32_t magnitudes = packBf16Pair(low, high);
    __nv_bfloat162 product = __hmul2(*reinterpret_cast<__nv_bfloat162*>(&magnitudes),
                                     *reinterpret_cast<__nv_bfloat162*>(&scales));
    return (*reinterpret_cast<uint32_t*>(&product) & ~kSignBits) | (inputs & kSignBits);
}

// Larger magnitudes of pairs of BF16; as integers they keep NaN on top.
__device__ __forceinline__ uint32_t largerPair(uint32_t a, uint32_t b) {
    return __vmaxu2(a, b & ~kSignBits);
}

// One block of 16 columns of a row: codes * scale.
template <bool kStochastic, bool kPaper>
__device__ __forceinline__ void quantizeRow(
    const uint4 (&raw)[2], const TensorScale& scale, const RandomStream& random, const RowSpan& span, int row, int col,
    __nv_bfloat16* to) {
    uint32_t words[8] = {raw[0].x, raw[0].y, raw[0].z, raw[0].w, raw[1].x, raw[1].y, raw[1].z, raw[1].w};
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        largest = largerPair(largest, words[i]);
    }
    float blockAmax = __uint_as_float(max(largest << 16, largest & 0xFFFF0000u));
    float decoded = decodeE4m3(blockScaleByte(blockAmax, scale, kPaper));
    float factor = encodeFactor(decoded, scale);
    uint32_t scales = packBf16Pair(decoded, decoded);
    uint32_t bytes[4] = {};
    if constexpr (kStochastic) {
        uint4 drawn = randomBytes(random, span, row, col / 16);
        bytes[0] = drawn.x;
        bytes[1] = drawn.y;
        bytes[2] = drawn.z;
        bytes[3] = drawn.w;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float2 pair = unpackBf16(words[i]);
        float low = rounded<kStochastic>(pair.x, factor, bytes[i / 2], i % 2 * 2);
        float high = rounded<kStochastic>(pair.y, factor, bytes[i / 2], i % 2 * 2 + 1);
        words[i] = scaledPair(low, high, scales, words[i]);
    }
    uint4* wide = reinterpret_cast<uint4*>(to);
    wide[0] = make_uint4(words[0], words[1], words[2], words[3]);
    wide[1] = make_uint4(words[4], words[5], words[6], words[7]);
}

// Transforms two columns in place, pairs of BF16.
__device__ __forceinline__ void transformPairs(uint32_t (&pairs)[16]) {
    float a[16], b[16];
    splitPairs(pairs, a, b);
    transform16(a);
    transform16(b);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        pairs[i] = packBf16Pair(__fmul_rn(a[i], 0.25f), __fmul_rn(b[i], 0.25f));
    }
}

// Two transformed columns. words: random words of the tile's rows.
template <bool kStochastic, bool kPacked, bool kPaper>
__device__ __forceinline__ void quantizeColumns(
    uint32_t (&pairs)[16], const TensorScale& scale, uint32_t (*words)[16], long block, int cols, int col,
    __nv_bfloat16* values, const Packed& packed) {
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        largest = largerPair(largest, pairs[i]);
    }
    uint32_t scaleBytes[2] = {blockScaleByte(__uint_as_float(largest << 16), scale, kPaper),
                              blockScaleByte(__uint_as_float(largest & 0xFFFF0000u), scale, kPaper)};
    float decoded[2] = {decodeE4m3(scaleBytes[0]), decodeE4m3(scaleBytes[1])};
    float factors[2] = {encodeFactor(decoded[0], scale), encodeFactor(decoded[1], scale)};
    uint32_t scales = packBf16Pair(decoded[0], decoded[1]);
    uint32_t firstByte = threadIdx.x % 2 * 2;
    __nv_bfloat16* at = values + block * 16 * cols + col;
    bool present = col < cols;
    uint32_t codes[2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float low[8], high[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            int row = half * 8 + i;
            uint32_t word = 0;
            if constexpr (kStochastic) {
                word = words[row][threadIdx.x % 32 / 2];
            }
            float2 pair = unpackBf16(pairs[row]);
            low[i] = rounded<kStochastic>(pair.x, factors[0], word, firstByte);
            high[i] = rounded<kStochastic>(pair.y, factors[1], word, firstByte + 1);
            if constexpr (!kPacked) {
                uint32_t result = scaledPair(low[i], high[i], scales, pairs[row]);
                if (present) {
                    *reinterpret_cast<uint32_t*>(at + long(cols) * row) = result;
                }
            }
        }
        if constexpr (kPacked) {
            const uint32_t* p = pairs + half * 8;
            uint2 even = highBytes(p[0], p[2], p[4], p[6]);
            uint2 odd = highBytes(p[1], p[3], p[5], p[7]);
            codes[0][half] = packMagnitudes(low, even.x, odd.x);
            codes[1][half] = packMagnitudes(high, even.y, odd.y);
        }
    }
    if constexpr (kPacked) {
        if (present) {
            *reinterpret_cast<uint4*>(packed.codes + block * cols + col) =
                make_uint4(codes[0][0], codes[0][1], codes[1][0], codes[1][1]);
            *reinterpret_cast<uint16_t*>(packed.scales + block * cols + col) =
                static_cast<uint16_t>(scaleBytes[0] | scaleBytes[1] << 8);
        }
    }
}

template <bool kStochastic, bool kPacked, bool kPaper>
__device__ __forceinline__ void quantizeTile(
    const TileQueue& queue, const Tile& tile, const __nv_bfloat16* x, int cols, const RandomStream& random,
    uint32_t (*words)[16], __nv_bfloat16* byRows, __nv_bfloat16* byColumns, const Packed& packed) {
    awaitFirst(queue, tile.span.group);
    TensorScale scaleRows = tensorScale(__ldcg(&queue.state->amax[0][tile.span.group]), kPaper);
    TensorScale scaleColumns = tensorScale(__ldcg(&queue.state->amax[1][tile.span.group]), kPaper);
    RandomStream columnRandom = random;
    columnRandom.copy = 1;
    int lane = threadIdx.x % 32;
    int rowsLeft = tile.span.end - tile.span.begin - tile.firstRow;
    long start = long(tile.span.begin + tile.firstRow) * cols;
    int end = min(cols, (tile.strip + 1) * queue.strip);
#pragma unroll 1
    for (int base = tile.strip * queue.strip; base < end; base += 64) {
        int rowCol = base + lane % 4 * 16;
        bool rowPresent = rowCol < cols;
        uint4 raw[2][2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            int row = j * 8 + lane / 4;
            if (row < rowsLeft && rowPresent) {
                const uint4* at = reinterpret_cast<const uint4*>(x + start + long(row) * cols + rowCol);
                raw[j][0] = __ldg(at);
                raw[j][1] = __ldg(at + 1);
            }
        }
        uint32_t rawColumns[16];
        // Served by the L1 cache. Early, where registers allow to hold both.
        const __nv_bfloat16* columns = x + start + base + lane * 2;
        bool columnsPresent = base + lane * 2 < cols;
        if constexpr (!kStochastic) {
            loadColumns(columns, rowsLeft, cols, columnsPresent, rawColumns);
        }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            int row = j * 8 + lane / 4;
            if (row < rowsLeft && rowPresent) {
                quantizeRow<kStochastic, kPaper>(raw[j], scaleRows, random, tile.span, tile.firstRow + row, rowCol,
                                                 byRows + start + long(row) * cols + rowCol);
            }
        }
        if constexpr (kStochastic) {
            loadColumns(columns, rowsLeft, cols, columnsPresent, rawColumns);
            drawWords(columnRandom, tile.span, tile.firstRow, base, cols, *reinterpret_cast<WarpWords*>(words));
        }
        transformPairs(rawColumns);
        quantizeColumns<kStochastic, kPacked, kPaper>(
            rawColumns, scaleColumns, words, tile.block, cols, base + lane * 2, byColumns, packed);
    }
}

template <bool kStochastic, bool kPacked, bool kPaper>
__device__ __forceinline__ void quantizeBoth(
    const __nv_bfloat16* x, int cols, const Groups& groups, QueueState* state, int strip, int ahead,
    bool given,
    const RandomStream& random, float* scaleRows, float* scaleColumns, int* padded, __nv_bfloat16* byRows,
    __nv_bfloat16* byColumns, const Packed& packed) {
    __shared__ int before[kMostGroups + 1];
    __shared__ __align__(16) WarpWords words[kStochastic ? kWarps : 1];
    countBlocks(groups, before, padded);
    TileQueue queue{state, groups, before, strip, (cols + strip - 1) / strip, ahead, given};
    Tile tile;
    int number = takeNumber(queue);
    while (tileOf(queue, number, tile)) {
        number = takeNumber(queue);
        if (tile.second) {
            quantizeTile<kStochastic, kPacked, kPaper>(
                queue, tile, x, cols, random, words[kStochastic ? threadIdx.x / 32 : 0], byRows, byColumns, packed);
        } else {
            findAmax(queue, tile, x + long(tile.span.begin + tile.firstRow) * cols, cols);
        }
    }
    leave(queue, scaleRows, scaleColumns);
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// state: a QueueState. strip: columns of a tile, a multiple of 128. ahead: groups by which the first pass leads. given: its amax are known. offsets null: groups of groupRows rows each. padded: INT32 [groups + 1] or
// null, where each group's blocks begin in the operand by columns. columns: its values, or its codes with columnScales their
// scale bytes. Grid: any; block 256.
#define FOURFOLD_BOTH(name, stochastic, isPacked, paper)                                                                \
    extern "C" __global__ void __launch_bounds__(256, kResident) nvfp4_both_##name(                                    \
        const __nv_bfloat16* __restrict__ x, int cols, const int* __restrict__ offsets, int groups, int groupRows,     \
        void* state, int strip, int ahead, int given, uint64_t seed, uint32_t step, uint32_t tensorId,                 \
        const int* __restrict__ rowIds,                                                                                \
        const int* __restrict__ columnGroups, float* __restrict__ scaleRows, float* __restrict__ scaleColumns,         \
        int* __restrict__ padded, __nv_bfloat16* __restrict__ rowValues, void* __restrict__ columns,                   \
        uint8_t* __restrict__ columnScales) {                                                                          \
        quantizeBoth<stochastic, isPacked, paper>(                                                                     \
            x, cols, Groups{offsets, nullptr, groups, groupRows}, static_cast<QueueState*>(state), strip, ahead,       \
            given != 0,                                                                                                \
            RandomStream{seed, step, tensorId, 0, rowIds, columnGroups}, scaleRows, scaleColumns, padded, rowValues,   \
            static_cast<__nv_bfloat16*>(columns), Packed{static_cast<uint2*>(columns), columnScales});                 \
    }
#define FOURFOLD_BOTH_FORMULAS(name, stochastic, isPacked)                                                              \
    FOURFOLD_BOTH(name, stochastic, isPacked, false)                                                                   \
    FOURFOLD_BOTH(name##_paper, stochastic, isPacked, true)

FOURFOLD_BOTH_FORMULAS(values, false, false)
FOURFOLD_BOTH_FORMULAS(values_sr, true, false)
FOURFOLD_BOTH_FORMULAS(packed, false, true)
FOURFOLD_BOTH_FORMULAS(packed_sr, true, true)

// Values [16 * blocks, cols] of a packed operand by columns; blocks behind the last group's are left alone. padded: INT32
// [groups + 1] first rows of the groups' blocks, or null when all `blocks` are there. Grid: (blocks of 16 rows, ceil(cols /
// 512)), block 256.
extern "C" __global__ void __launch_bounds__(256) nvfp4_decode_columns(
    const uint2* __restrict__ codes, const uint8_t* __restrict__ scales, int cols, const int* __restrict__ padded,
    int groups, __nv_bfloat16* __restrict__ out) {
    long block = blockIdx.x;
    int col = (blockIdx.y * 256 + threadIdx.x) * 2;
    if (col >= cols || (padded != nullptr && block * 16 >= __ldg(padded + groups))) {
        return;
    }
    uint4 pair = __ldg(reinterpret_cast<const uint4*>(codes + block * cols + col));
    uint32_t bytes = __ldg(reinterpret_cast<const uint16_t*>(scales + block * cols + col));
    float a[16], b[16];
    unpackCodes(make_uint2(pair.x, pair.y), decodeE4m3(bytes & 0xFFu), a);
    unpackCodes(make_uint2(pair.z, pair.w), decodeE4m3(bytes >> 8), b);
    __nv_bfloat16* at = out + block * 16 * cols + col;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        storePair(at, 2, true, a[i], b[i]);
        at += cols;
    }
}
