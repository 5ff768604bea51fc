// Token rows packed for the way to their experts, bit-equal to the CPU oracle; layout: io.fourfold.kernels.op.RowFormat.
// With B columns to a scale byte and s the decoded byte:
//
//   FP8    B = 128   s = 2^ceil(log2(amax_block / 448))                  code = E4M3(x / s)          value = code * s
//   NVFP4  B = 16    S = 2^floor(log2(2688 / amax_row)), s = E4M3(amax_block * (S * (1/6)))
//                    code = E2M1(x * min(1 / (s * (1/S)), largest float))                             value = code * s * (1/S)
//
// Bytes and nibbles behind the last column are zero.

#include "ops/vector.cuh"
#include "quantize/nvfp4.cuh"

namespace fourfold {

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

// Half a warp has the 128 columns of a block, a lane eight of them; it loads some blocks before it works on the first: two for
// packing, which needs registers for the values, four for unpacking.
constexpr int kHalfWarp = 16;
constexpr int kHalves = 16;
constexpr int kPackUnits = 2;
constexpr int kUnits = 4;

template <int kCount>
struct Fp8Block {
    int row, block, col;  // col: this lane's first column
    bool exists;          // the block
    bool inside;          // this lane's columns
    __device__ __forceinline__ Fp8Block(int i, int rows, int cols, int blocks) {
        int unit = (blockIdx.x * kCount + i) * kHalves + threadIdx.x / kHalfWarp;
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
    float v[kPackUnits][kVector];
#pragma unroll
    for (int i = 0; i < kPackUnits; ++i) {
        Fp8Block<kPackUnits> at(i, rows, cols, blocks);
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
    for (int i = 0; i < kPackUnits; ++i) {
        Fp8Block<kPackUnits> at(i, rows, cols, blocks);
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
        Fp8Block<kUnits> at(i, rows, cols, blocks);
        if (at.inside) {
            const uint32_t* from = packed + long(at.row) * shape.words;
            codes[i] = loadCodes(from, at.col / 4, shape);
            bytes[i] = __ldg(reinterpret_cast<const uint8_t*>(from + shape.codeWords) + at.block);
        }
    }
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
        Fp8Block<kUnits> at(i, rows, cols, blocks);
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

// Eight values as they are stored, to be kept in few registers until the row's scale is known.
struct HeldBf16 {
    uint4 raw;
    __device__ __forceinline__ void load(const bf16* from, int present, bool wide) {
        if (wide && present >= kVector) {
            raw = *reinterpret_cast<const uint4*>(from);
        } else {
            float v[kVector];
            load8(from, present, false, v);
            raw = make_uint4(packBf16(v[0], v[1]), packBf16(v[2], v[3]), packBf16(v[4], v[5]), packBf16(v[6], v[7]));
        }
    }
    __device__ __forceinline__ void values(float (&v)[kVector]) const { loadWide(reinterpret_cast<const bf16*>(&raw), v); }
};

struct HeldFp32 {
    float raw[kVector];
    __device__ __forceinline__ void load(const float* from, int present, bool wide) { load8(from, present, wide, raw); }
    __device__ __forceinline__ void values(float (&v)[kVector]) const {
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            v[i] = raw[i];
        }
    }
};

__device__ __forceinline__ uint32_t amaxBits(const float (&v)[kVector]) {
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
        bits = max(bits, magnitudeBits(v[i]));
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

// Eight columns of a row at col; two neighbouring lanes have a block. Every lane of the warp takes part.
__device__ __forceinline__ void packBlockHalf(
    const float (&v)[kVector], int col, int cols, const TensorScale& scaling, uint32_t* to, uint8_t* scales) {
    uint32_t bits = amaxBits(v);
    bits = max(bits, __shfl_xor_sync(kAllLanes, bits, 1));
    if (col >= cols) {
        return;
    }
    uint32_t byte = blockScaleByte(__uint_as_float(bits), scaling, false);
    to[col / 8] = eightCodes(v, encodeFactor(decodeE4m3(byte), scaling));
    if (threadIdx.x % 2 == 0) {
        scales[col / kNvfp4Block] = static_cast<uint8_t>(byte);
    }
}

// The largest of a value over the block.
__device__ __forceinline__ uint32_t blockMax(uint32_t bits) {
    __shared__ uint32_t warps[kWarp];
    bits = __reduce_max_sync(kAllLanes, bits);
    if (threadIdx.x % kWarp == 0) {
        warps[threadIdx.x / kWarp] = bits;
    }
    __syncthreads();
    uint32_t other = threadIdx.x % kWarp < blockDim.x / kWarp ? warps[threadIdx.x % kWarp] : 0;
    return __reduce_max_sync(kAllLanes, other);
}

// A row per block of threads. The first kHeld * blockDim * 8 columns stay in registers, longer rows are read twice.
template <class T, class Held>
__device__ __forceinline__ void packNvfp4(const T* x, int cols, uint32_t* packed) {
    constexpr int kHeld = 2;
    PackedRow shape(packed, cols, 8, kNvfp4Block, 1);
    uint32_t* to = packed + long(blockIdx.x) * shape.words;
    uint8_t* scales = reinterpret_cast<uint8_t*>(to + shape.codeWords);
    const T* from = x + long(blockIdx.x) * cols;
    bool wide = aligned(x, cols);
    int first = threadIdx.x * kVector;
    int stride = blockDim.x * kVector;
    Held held[kHeld];
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
        int col = first + i * stride;
        held[i].load(from + min(col, cols), max(0, cols - col), wide);
    }
    float v[kVector];
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
        held[i].values(v);
        bits = max(bits, amaxBits(v));
    }
    for (int col = first + kHeld * stride; col < cols; col += stride) {
        load8(from + col, cols - col, wide, v);
        bits = max(bits, amaxBits(v));
    }
    float inverse = inverseRowScale(blockMax(bits));
    TensorScale scaling = tensorScale(__fmul_rn(kNvfp4Max, inverse), false);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
        if (i * stride < cols) {
            held[i].values(v);
            packBlockHalf(v, first + i * stride, cols, scaling, to, scales);
        }
    }
    for (int base = kHeld * stride; base < cols; base += stride) {
        int col = base + first;
        load8(from + min(col, cols), max(0, cols - col), wide, v);
        packBlockHalf(v, col, cols, scaling, to, scales);
    }
    padScales(scales, ceilDiv(cols, kNvfp4Block), threadIdx.x, shape);
    if (threadIdx.x == 0) {
        to[shape.words - 1] = __float_as_uint(inverse);
    }
}

// The bits of a magnitude's code, one place below the exponent, are those of the value divided by 2^126.
__device__ __forceinline__ float decodeE2m1(uint32_t code) {
    float magnitude = __fmul_rn(__uint_as_float((code & 7u) << 22), 0x1p126f);
    return __uint_as_float(__float_as_uint(magnitude) | (code & 8u) << 28);
}

// A thread has four times eight columns.
template <class T>
__device__ __forceinline__ void unpackNvfp4(const uint32_t* packed, int rows, int cols, T* out) {
    PackedRow shape(packed, cols, 8, kNvfp4Block, 1);
    bool wide = aligned(out, cols);
    uint32_t word[kUnits];
    uint32_t byte[kUnits];
    float inverse[kUnits];
    int row[kUnits], col[kUnits];
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
        int unit = (blockIdx.x * kUnits + i) * blockDim.x + threadIdx.x;
        row[i] = unit / shape.codeWords;
        col[i] = (unit - row[i] * shape.codeWords) * kVector;
        if (row[i] < rows) {
            const uint32_t* from = packed + long(row[i]) * shape.words;
            word[i] = __ldg(from + col[i] / 8);
            byte[i] = __ldg(reinterpret_cast<const uint8_t*>(from + shape.codeWords) + col[i] / kNvfp4Block);
            inverse[i] = __uint_as_float(__ldg(from + shape.words - 1));
        }
    }
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
        if (row[i] >= rows) {
            continue;
        }
        float scale = decodeE4m3(byte[i]);
        float v[kVector];
#pragma unroll
        for (int j = 0; j < kVector; ++j) {
            v[j] = __fmul_rn(__fmul_rn(decodeE2m1(word[i] >> (4 * j)), scale), inverse[i]);
        }
        store8(out + long(row[i]) * cols + col[i], cols - col[i], wide, v);
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// FP8: grid ceil(rows * ceil(cols / 128) / 32), unpack / 64, block 256. NVFP4: pack grid rows, block up to 512 (whole warps, 16 columns a
// thread); unpack grid ceil(rows * ceil(cols / 8) / 1024), block 256.
#define FOURFOLD_PACKING(suffix, T, Held)                                                                               \
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
        packNvfp4<T, Held>(x, cols, packed);                                                                           \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) unpack_rows_nvfp4_##suffix(                                      \
        const uint32_t* __restrict__ packed, int rows, int cols, T* __restrict__ out) {                                \
        unpackNvfp4(packed, rows, cols, out);                                                                          \
    }
FOURFOLD_PACKING(fp32, float, HeldFp32)
FOURFOLD_PACKING(bf16, bf16, HeldBf16)
