// NVFP4 quantization of BF16 matrices [rows, cols] for training on Hopper: to packed codes and scale bytes.
// Values for the BF16 tensor cores that emulate NVFP4 come from nvfp4_emulate.cu. The tensor amax is read from device memory. Rounding and layouts: docs/numerics.md.
//
//   row copy     blocks of 16 along a row.        codes [rows, cols/2], scales [rows, cols/16]
//   column copy  Hadamard-transformed (optional), blocks of 16 along a column. codes [cols, rows/2], scales [cols, rows/16]
//
// One read of the input each. cols and rows are multiples of 16 here; ragged sizes take the padded path of the caller.

#include "quantize/nvfp4.cuh"

namespace fourfold {

// 16 elements of one row: 32 bytes in, 8 bytes of codes and 1 scale byte out.
template <bool kStochastic>
__device__ __forceinline__ void quantizeRowBlock(
    const uint4* in, long block, const TensorScale& scale, uint2 key, uint4 counter, uint8_t* codes, uint8_t* scales) {
    uint4 low = __ldg(in + block * 2);
    uint4 high = __ldg(in + block * 2 + 1);
    uint32_t x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    uint32_t m = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        m = maxMagnitude(m, x[i] & kMagnitudeMask);
    }
    float2 pair = unpackBf16(m);
    uint32_t byte = blockScaleByte(fmaxf(pair.x, pair.y), scale, false);
    float decoded = decodeE4m3(byte);
    float factor = encodeFactor(decoded, scale);
    uint32_t random[4] = {};
    if constexpr (kStochastic) {
        uint4 bits = philox(key, counter);
        random[0] = bits.x;
        random[1] = bits.y;
        random[2] = bits.z;
        random[3] = bits.w;
    }
    uint32_t packed[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float2 v = unpackBf16(x[i]);
        float y0 = fabsf(__fmul_rn(v.x, factor));
        float y1 = fabsf(__fmul_rn(v.y, factor));
        E2m1 q0, q1;
        if constexpr (kStochastic) {
            q0 = roundE2m1Stochastic(y0, byteAsFloat(random[i / 2], i % 2 * 2));
            q1 = roundE2m1Stochastic(y1, byteAsFloat(random[i / 2], i % 2 * 2 + 1));
        } else {
            q0 = roundE2m1(y0);
            q1 = roundE2m1(y1);
        }
        uint32_t sign = x[i] & 0x80008000u;
        uint32_t nibbles = q0.code | q1.code << 4 | (sign >> 12 & 8u) | (sign >> 24 & 0x80u);
        packed[i / 4] |= nibbles << (i % 4 * 8);
    }
    *reinterpret_cast<uint2*>(codes + block * 8) = make_uint2(packed[0], packed[1]);
    scales[block] = static_cast<uint8_t>(byte);
}

template <bool kStochastic>
__device__ __forceinline__ void quantizeRows(
    const uint4* in, long blocks, int blocksPerRow, const float* amax, uint2 key, uint32_t tensorId, uint32_t step,
    const int* rowIds, uint8_t* codes, uint8_t* scales) {
    TensorScale scale = tensorScale(__ldg(amax), false);
    long stride = long(gridDim.x) * blockDim.x;
    for (long block = long(blockIdx.x) * blockDim.x + threadIdx.x; block < blocks; block += stride) {
        uint4 counter = make_uint4(0, 0, 0, 0);
        if constexpr (kStochastic) {
            int row = static_cast<int>(block / blocksPerRow);
            counter = make_uint4(static_cast<uint32_t>(block - long(row) * blocksPerRow),
                                 rowIds == nullptr ? row : __ldg(rowIds + row), tensorId * 2, step);
        }
        quantizeRowBlock<kStochastic>(in, block, scale, key, counter, codes, scales);
    }
}

// Negates row i of both columns where bit i of the run's sign mask is set.
__device__ __forceinline__ uint32_t applySign(uint32_t pair, int i) {
    return pair ^ ((kHadamardSigns >> i & 1u) * 0x80008000u);
}

constexpr int kTileTokens = 128;
constexpr int kTileChannels = 64;

// Two neighbouring columns of 16 rows, transformed and rounded to BF16 as the numerics demand; amax = their magnitudes' maxima.
template <bool kHadamard>
__device__ __forceinline__ void loadColumns(
    const uint32_t* in, long stride, float (&a)[16], float (&b)[16], float2& amax) {
    uint32_t x[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        x[i] = __ldg(in + i * stride);
    }
    if constexpr (kHadamard) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            float2 v = unpackBf16(applySign(x[i], i));
            a[i] = v.x;
            b[i] = v.y;
        }
        sylvester16(a);
        sylvester16(b);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            x[i] = packBf16Pair(__fmul_rn(a[i], 0.25f), __fmul_rn(b[i], 0.25f));
        }
    }
    uint32_t m = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        m = maxMagnitude(m, x[i] & kMagnitudeMask);
        float2 v = unpackBf16(x[i]);
        a[i] = v.x;
        b[i] = v.y;
    }
    amax = unpackBf16(m);
}

template <bool kHadamard>
__device__ __forceinline__ void quantizeColumnsPacked(
    const uint32_t* in, int rows, int cols, const float* amax, uint8_t* codes, uint8_t* scales) {
    __shared__ uint32_t tileCodes[kTileChannels][kTileTokens / 8 + 1];
    __shared__ uint8_t tileScales[kTileChannels][kTileTokens / 16];
    TensorScale scale = tensorScale(__ldg(amax), false);
    int channel = (threadIdx.x % 32) * 2;
    int group = threadIdx.x / 32;
    int firstRow = blockIdx.y * kTileTokens;
    int firstCol = blockIdx.x * kTileChannels;
    int row = firstRow + group * 16;
    if (row < rows && firstCol + channel < cols) {
        float v[2][16];
        float2 blockAmax;
        loadColumns<kHadamard>(in + (long(row) * cols + firstCol + channel) / 2, cols / 2, v[0], v[1], blockAmax);
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            uint32_t byte = blockScaleByte(c == 0 ? blockAmax.x : blockAmax.y, scale, false);
            float factor = encodeFactor(decodeE4m3(byte), scale);
            tileScales[channel + c][group] = static_cast<uint8_t>(byte);
#pragma unroll
            for (int word = 0; word < 2; ++word) {
                uint32_t packed = 0;
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    float x = v[c][word * 8 + i];
                    uint32_t code = roundE2m1(fabsf(__fmul_rn(x, factor))).code | (__float_as_uint(x) >> 28 & 8u);
                    packed |= code << (i * 4);
                }
                tileCodes[channel + c][group * 2 + word] = packed;
            }
        }
    }
    __syncthreads();
    int tokens = min(kTileTokens, rows - firstRow);
    int channels = min(kTileChannels, cols - firstCol);
    int wordsPerChannel = tokens / 8;
    for (int i = threadIdx.x; i < channels * (kTileTokens / 8); i += blockDim.x) {
        int c = i / (kTileTokens / 8);
        int w = i % (kTileTokens / 8);
        if (w < wordsPerChannel) {
            reinterpret_cast<uint32_t*>(codes + long(firstCol + c) * (rows / 2) + firstRow / 2)[w] = tileCodes[c][w];
        }
    }
    for (int i = threadIdx.x; i < channels * (kTileTokens / 16); i += blockDim.x) {
        int c = i / (kTileTokens / 16);
        int g = i % (kTileTokens / 16);
        if (g < tokens / 16) {
            scales[long(firstCol + c) * (rows / 16) + firstRow / 16 + g] = tileScales[c][g];
        }
    }
}

__device__ __forceinline__ void blockMax(float value, float* out) {
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, i));
    }
    if (threadIdx.x % 32 == 0 && value > 0.f) {
        atomicMax(reinterpret_cast<int*>(out), __float_as_int(value));  // non-negative floats order like integers
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

#define FOURFOLD_QUANTIZE_ROWS(name, stochastic)                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        name(const uint4* __restrict__ in, long blocks, int blocksPerRow, const float* __restrict__ amax, uint64_t key, \
             uint32_t tensorId, uint32_t step, const int* __restrict__ rowIds, uint8_t* __restrict__ codes,            \
             uint8_t* __restrict__ scales) {                                                                           \
        quantizeRows<stochastic>(in, blocks, blocksPerRow, amax, make_uint2(key, key >> 32), tensorId, step, rowIds,   \
                                 codes, scales);                                                                       \
    }
FOURFOLD_QUANTIZE_ROWS(nvfp4_quantize_rows, false)
FOURFOLD_QUANTIZE_ROWS(nvfp4_quantize_rows_sr, true)

// Grid: (ceil(cols/64), ceil(rows/128)), block 256.
extern "C" __global__ void __launch_bounds__(256) nvfp4_quantize_columns(
    const uint32_t* __restrict__ in, int rows, int cols, const float* __restrict__ amax,
    uint8_t* __restrict__ codes, uint8_t* __restrict__ scales) {
    quantizeColumnsPacked<false>(in, rows, cols, amax, codes, scales);
}

extern "C" __global__ void __launch_bounds__(256) nvfp4_quantize_columns_rht(
    const uint32_t* __restrict__ in, int rows, int cols, const float* __restrict__ amax,
    uint8_t* __restrict__ codes, uint8_t* __restrict__ scales) {
    quantizeColumnsPacked<true>(in, rows, cols, amax, codes, scales);
}

// out[0] = amax of the matrix, out[1] = amax after the Hadamard transform along the rows. Both zero before.
// Grid: any; a block walks tiles of 128 x 64.
extern "C" __global__ void __launch_bounds__(256) nvfp4_amax_rht(
    const uint32_t* __restrict__ in, int rows, int cols, float* __restrict__ out) {
    float transformed = 0.f;
    uint32_t m = 0;
    int tilesAcross = (cols + kTileChannels - 1) / kTileChannels;
    int tiles = tilesAcross * ((rows + kTileTokens - 1) / kTileTokens);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int channel = tile % tilesAcross * kTileChannels + (threadIdx.x % 32) * 2;
        int row = tile / tilesAcross * kTileTokens + (threadIdx.x / 32) * 16;
        if (row >= rows || channel >= cols) {
            continue;
        }
        const uint32_t* at = in + (long(row) * cols + channel) / 2;
        uint32_t x[16];
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            x[i] = __ldg(at + i * (long)(cols / 2));
        }
        float a[16], b[16];
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            m = maxMagnitude(m, x[i] & kMagnitudeMask);
            float2 v = unpackBf16(applySign(x[i], i));
            a[i] = v.x;
            b[i] = v.y;
        }
        sylvester16(a);
        sylvester16(b);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            transformed = fmaxf(transformed, fmaxf(fabsf(a[i]), fabsf(b[i])));
        }
    }
    // Rounding to BF16 is monotonic, so it commutes with the maximum.
    transformed = __bfloat162float(__float2bfloat16_rn(__fmul_rn(transformed, 0.25f)));
    float2 pair = unpackBf16(m);
    blockMax(fmaxf(pair.x, pair.y), out);
    blockMax(transformed, out + 1);
}
