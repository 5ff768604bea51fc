// Token rows packed for the way to their experts, bit-equal to the CPU oracle; layout: io.fourfold.kernels.op.RowFormat.
// With B columns to a scale byte and s the decoded byte:
//
//   FP8    B = 128   s = 2^ceil(log2(amax_block / 448))                  code = E4M3(x / s)          value = code * s
//   NVFP4  B = 16    S = 2^floor(log2(2688 / amax_row)), s = E4M3(amax_block * (S * (1/6)))
//                    code = E2M1(x * min(1 / (s * (1/S)), largest float))                             value = code * s * (1/S)
//
// Bytes and nibbles behind the last column are zero. FP8: half a warp per block. NVFP4: a warp per row, which it reads twice,
// the second time from a cache.

#include "ops/vector.cuh"
#include "quantize/nvfp4.cuh"

namespace fourfold {

constexpr int kWarps = 8;
constexpr int kFp8Block = 128;
constexpr int kNvfp4Block = 16;
constexpr float kNvfp4Max = 2688.0f;
constexpr uint32_t kNan = 0x7FC00000u;
constexpr uint32_t kInfinity = 0x7F800000u;

__device__ __forceinline__ int ceilDiv(int size, int unit) {
    return (size + unit - 1) / unit;
}

__device__ __forceinline__ uint32_t magnitudeBits(float x) {
    return __float_as_uint(x) & 0x7FFFFFFFu;
}

// Words of the codes and of the scale bytes of a row, and whether pairs of words may be stored at once.
struct PackedRow {
    int codeWords, scaleWords, words;
    bool wide;
    __device__ __forceinline__ PackedRow(const uint32_t* packed, int cols, int codesPerWord, int block, int rowScales)
        : codeWords(ceilDiv(cols, codesPerWord)),
          scaleWords(ceilDiv(ceilDiv(cols, block), 4)),
          words(codeWords + scaleWords + rowScales),
          wide(words % 2 == 0 && reinterpret_cast<uintptr_t>(packed) % 8 == 0) {}
};

__device__ __forceinline__ void storeCodes(uint32_t* row, int word, const PackedRow& shape, uint32_t low, uint32_t high) {
    if (shape.wide && word + 1 < shape.codeWords) {
        *reinterpret_cast<uint2*>(row + word) = make_uint2(low, high);
    } else {
        row[word] = low;
        if (word + 1 < shape.codeWords) {
            row[word + 1] = high;
        }
    }
}

// Zeros for the bytes of the last scale word that no block has.
__device__ __forceinline__ void padScales(uint8_t* scales, int blocks, int lane, const PackedRow& shape) {
    if (blocks + lane < shape.scaleWords * 4) {
        scales[blocks + lane] = 0;
    }
}

// FP8 -----------------------------------------------------------------------------------------------------------------

// The UE8M0 byte of 2^ceil(log2(amax / 448)), see io.fourfold.kernels.numeric.ScaleE8M0.
__device__ __forceinline__ uint32_t scaleByteE8m0(uint32_t amaxBits) {
    return amaxBits >= kInfinity ? 255u : static_cast<uint32_t>(max(0, static_cast<int>((amaxBits + 0x1FFFFFu) >> 23) - 8));
}

// 2^(byte - 127); 255 is NaN.
__device__ __forceinline__ float decodeE8m0(uint32_t byte) {
    return __uint_as_float(byte == 255 ? kNan : byte == 0 ? 0x00400000u : byte << 23);
}

// 1 / 2^(byte - 127).
__device__ __forceinline__ float reciprocalE8m0(uint32_t byte) {
    return __uint_as_float(byte == 255 ? kNan : byte == 254 ? 0x00400000u : (254 - byte) << 23);
}

__device__ __forceinline__ uint32_t fourCodes(const float* v, float factor) {
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float2 pair = make_float2(__fmul_rn(v[2 * i], factor), __fmul_rn(v[2 * i + 1], factor));
        word |= static_cast<uint32_t>(__nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3)) << (16 * i);
    }
    return word;
}

// Half a warp has the 128 columns of a block, a lane eight of them; it loads kUnits blocks before it works on the first.
constexpr int kHalfWarp = 16;
constexpr int kHalves = 16;
constexpr int kUnits = 4;

struct Fp8Block {
    int row, block, col;  // col: this lane's first column
    bool exists;          // the block
    bool inside;          // this lane's columns
    __device__ __forceinline__ Fp8Block(int i, int rows, int cols, int blocks) {
        int unit = (blockIdx.x * kUnits + i) * kHalves + threadIdx.x / kHalfWarp;
        row = unit / blocks;
        block = unit - row * blocks;
        col = block * kFp8Block + threadIdx.x % kHalfWarp * kVector;
        exists = row < rows;
        inside = exists && col < cols;
    }
};

template <class T>
__device__ __forceinline__ void packFp8(const T* x, int rows, int cols, uint32_t* packed) {
    PackedRow shape(packed, cols, 4, kFp8Block, 0);
    int blocks = ceilDiv(cols, kFp8Block);
    int lane = threadIdx.x % kHalfWarp;
    bool wide = aligned(x, cols);
    float v[kUnits][kVector];
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
        Fp8Block at(i, rows, cols, blocks);
        if (at.inside) {
            load8(x + long(at.row) * cols + at.col, cols - at.col, wide, v[i]);
        } else {
#pragma unroll
            for (int j = 0; j < kVector; ++j) {
                v[i][j] = 0.f;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
        Fp8Block at(i, rows, cols, blocks);
        uint32_t bits = 0;
#pragma unroll
        for (int j = 0; j < kVector; ++j) {
            bits = max(bits, magnitudeBits(v[i][j]));
        }
#pragma unroll
        for (int distance = 1; distance < kHalfWarp; distance *= 2) {
            bits = max(bits, __shfl_xor_sync(kAllLanes, bits, distance));
        }
        uint32_t byte = scaleByteE8m0(bits);
        float factor = reciprocalE8m0(byte);
        uint32_t* to = packed + long(at.row) * shape.words;
        uint8_t* scales = reinterpret_cast<uint8_t*>(to + shape.codeWords);
        if (at.inside) {
            storeCodes(to, at.col / 4, shape, fourCodes(v[i], factor), fourCodes(v[i] + 4, factor));
        }
        if (at.exists && lane == 0) {
            scales[at.block] = static_cast<uint8_t>(byte);
        }
        if (at.exists && at.block == blocks - 1) {
            padScales(scales, blocks, lane, shape);
        }
    }
}

__device__ __forceinline__ uint2 loadCodes(const uint32_t* row, int word, const PackedRow& shape) {
    if (shape.wide && word + 1 < shape.codeWords) {
        return __ldg(reinterpret_cast<const uint2*>(row + word));
    }
    return make_uint2(__ldg(row + word), word + 1 < shape.codeWords ? __ldg(row + word + 1) : 0);
}

template <class T>
__device__ __forceinline__ void unpackFp8(const uint32_t* packed, int rows, int cols, T* out) {
    PackedRow shape(packed, cols, 4, kFp8Block, 0);
    int blocks = ceilDiv(cols, kFp8Block);
    bool wide = aligned(out, cols);
    uint2 codes[kUnits];
    uint32_t bytes[kUnits];
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
        Fp8Block at(i, rows, cols, blocks);
        if (at.inside) {
            const uint32_t* from = packed + long(at.row) * shape.words;
            codes[i] = loadCodes(from, at.col / 4, shape);
            bytes[i] = __ldg(reinterpret_cast<const uint8_t*>(from + shape.codeWords) + at.block);
        }
    }
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
        Fp8Block at(i, rows, cols, blocks);
        if (!at.inside) {
            continue;
        }
        float scale = decodeE8m0(bytes[i]);
        uint32_t words[2] = {codes[i].x, codes[i].y};
        float v[kVector];
#pragma unroll
        for (int j = 0; j < kVector; ++j) {
            v[j] = __fmul_rn(decodeE4m3(words[j / 4] >> (8 * (j % 4)) & 0xFFu), scale);
        }
        store8(out + long(at.row) * cols + at.col, cols - at.col, wide, v);
    }
}

// NVFP4 ---------------------------------------------------------------------------------------------------------------

// 1/S; NaN when the row's amax is not finite.
__device__ __forceinline__ float inverseRowScale(uint32_t amaxBits) {
    if (amaxBits >= kInfinity) {
        return __uint_as_float(kNan);
    }
    if (amaxBits == 0) {
        return 1.0f;
    }
    uint32_t quotient = __float_as_uint(__fdiv_rn(kNvfp4Max, __uint_as_float(amaxBits)));
    int exponent = min(static_cast<int>(quotient >> 23) - 127, 126);  // 2^-126 is the smallest normal number
    return __uint_as_float(static_cast<uint32_t>(127 - exponent) << 23);
}

template <class T>
__device__ __forceinline__ void load16(const T* from, int present, bool wide, float (&low)[kVector], float (&high)[kVector]) {
    load8(from, present, wide, low);
    if (present > kVector) {
        load8(from + kVector, present - kVector, wide, high);
    } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            high[i] = 0.f;
        }
    }
}

__device__ __forceinline__ uint32_t amaxBitsOf(const float (&low)[kVector], const float (&high)[kVector]) {
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
        bits = max(bits, max(magnitudeBits(low[i]), magnitudeBits(high[i])));
    }
    return bits;
}

__device__ __forceinline__ uint32_t eightCodes(const float (&v)[kVector], float factor) {
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
        uint32_t sign = __float_as_uint(v[i]) >> 31;
        word |= (sign << 3 | roundE2m1(fabsf(__fmul_rn(v[i], factor))).code) << (4 * i);
    }
    return word;
}

// A lane has the 16 columns of a block.
template <class T>
__device__ __forceinline__ void packNvfp4(const T* x, int rows, int cols, uint32_t* packed) {
    int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= rows) {
        return;
    }
    int lane = threadIdx.x % kWarp;
    PackedRow shape(packed, cols, 8, kNvfp4Block, 1);
    uint32_t* to = packed + long(row) * shape.words;
    uint8_t* scales = reinterpret_cast<uint8_t*>(to + shape.codeWords);
    const T* from = x + long(row) * cols;
    bool wide = aligned(x, cols);
    uint32_t rowBits = 0;
#pragma unroll 4
    for (int col = lane * kVector; col < cols; col += kWarp * kVector) {
        float v[kVector];
        load8(from + col, cols - col, wide, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            rowBits = max(rowBits, magnitudeBits(v[i]));
        }
    }
    float inverse = inverseRowScale(__reduce_max_sync(kAllLanes, rowBits));
    TensorScale scaling = tensorScale(__fmul_rn(kNvfp4Max, inverse), false);
#pragma unroll 2
    for (int col = lane * kNvfp4Block; col < cols; col += kWarp * kNvfp4Block) {
        float low[kVector], high[kVector];
        load16(from + col, cols - col, wide, low, high);
        float amax = __uint_as_float(amaxBitsOf(low, high));
        uint32_t byte = blockScaleByte(amax, scaling, false);
        float factor = encodeFactor(decodeE4m3(byte), scaling);
        storeCodes(to, col / 8, shape, eightCodes(low, factor), eightCodes(high, factor));
        scales[col / kNvfp4Block] = static_cast<uint8_t>(byte);
    }
    padScales(scales, ceilDiv(cols, kNvfp4Block), lane, shape);
    if (lane == 0) {
        to[shape.words - 1] = __float_as_uint(inverse);
    }
}

// The bits of a magnitude's code, one place below the exponent, are those of the value divided by 2^126.
__device__ __forceinline__ float decodeE2m1(uint32_t code) {
    float magnitude = __fmul_rn(__uint_as_float((code & 7u) << 22), 0x1p126f);
    return __uint_as_float(__float_as_uint(magnitude) | (code & 8u) << 28);
}

template <class T>
__device__ __forceinline__ void unpackNvfp4(const uint32_t* packed, int rows, int cols, T* out) {
    int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= rows) {
        return;
    }
    PackedRow shape(packed, cols, 8, kNvfp4Block, 1);
    const uint32_t* from = packed + long(row) * shape.words;
    const uint8_t* scales = reinterpret_cast<const uint8_t*>(from + shape.codeWords);
    T* to = out + long(row) * cols;
    bool wide = aligned(out, cols);
    float inverse = __uint_as_float(__ldg(from + shape.words - 1));
#pragma unroll 4
    for (int col = threadIdx.x % kWarp * kVector; col < cols; col += kWarp * kVector) {
        uint32_t word = __ldg(from + col / 8);
        float scale = decodeE4m3(__ldg(scales + col / kNvfp4Block));
        float v[kVector];
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            v[i] = __fmul_rn(__fmul_rn(decodeE2m1(word >> (4 * i)), scale), inverse);
        }
        store8(to + col, cols - col, wide, v);
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// Grid: FP8 ceil(rows * ceil(cols / 128) / 64), NVFP4 ceil(rows / 8); block 256.
#define FOURFOLD_PACKING(suffix, T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) pack_rows_fp8_##suffix(                                          \
        const T* __restrict__ x, int rows, int cols, uint32_t* __restrict__ packed) {                                  \
        packFp8(x, rows, cols, packed);                                                                                \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) unpack_rows_fp8_##suffix(                                        \
        const uint32_t* __restrict__ packed, int rows, int cols, T* __restrict__ out) {                                \
        unpackFp8(packed, rows, cols, out);                                                                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) pack_rows_nvfp4_##suffix(                                        \
        const T* __restrict__ x, int rows, int cols, uint32_t* __restrict__ packed) {                                  \
        packNvfp4(x, rows, cols, packed);                                                                              \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) unpack_rows_nvfp4_##suffix(                                      \
        const uint32_t* __restrict__ packed, int rows, int cols, T* __restrict__ out) {                                \
        unpackNvfp4(packed, rows, cols, out);                                                                          \
    }
FOURFOLD_TYPES1(FOURFOLD_PACKING)
