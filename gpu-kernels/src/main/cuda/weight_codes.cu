// NVFP4 codes of FP32 weights in tiles of 16 x 16, as ranks send them to each other, and operands made of them; bit for bit
// what nvfp4_weights.cu and nvfp4_codes.cu make of the weights. Layout: io.fourfold.kernels.op.WeightCodeOps.
//
//   strip       16 rows of a matrix: for each column the codes of its 16 rows in two words, first row lowest; then a byte of
//               E4M3 scale for each tile, in units of 16 bytes
//
// A warp takes a strip by 64 columns, two neighbouring ones a lane (FP4 layout: 32 columns). cols is a multiple of 16.

#include "quantize/fp4_layout.cuh"
#include "quantize/load.cuh"
#include "quantize/nvfp4.cuh"
#include "quantize/packed.cuh"
#include "quantize/tile.cuh"

namespace fourfold {

constexpr int kWarps = 8;
constexpr int kAmaxThreads = 512;

struct Strip {
    uint32_t* codes;  // [cols][2]
    uint8_t* scales;  // [cols / 16]
};

__device__ __forceinline__ Strip stripAt(uint32_t* words, long strip, int cols) {
    int size = 2 * cols + (cols / 16 + 15) / 16 * 4;
    uint32_t* codes = words + strip * size;
    return {codes, reinterpret_cast<uint8_t*>(codes + 2 * cols)};
}

__device__ __forceinline__ float codeValue(float magnitude, float x) {
    return withSignOf(roundE2m1(magnitude).value, x);
}

template <bool kPaper>
__device__ __forceinline__ void encodeStrips(
    const float* x, int cols, int firstRow, int matrixRows, const float* amax, int strips, uint32_t* words) {
    int strip = blockIdx.x * kWarps + threadIdx.x / 32;
    if (strip >= strips) {
        return;
    }
    int lane = threadIdx.x % 32;
    int col = blockIdx.y * 64 + lane * 2;
    bool present = col < cols;
    float a[16], b[16];
    loadPair(x + long(strip) * 16 * cols, 16, cols, col, a, b);
    float largest = 0.f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        largest = fmaxf(largest, fmaxf(fabsf(a[i]), fabsf(b[i])));
    }
#pragma unroll
    for (int distance = 1; distance < 8; distance *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
    }
    TensorScale tensor = tensorScale(__ldg(amax + (firstRow + strip * 16L) / matrixRows), kPaper);
    uint32_t scaleByte = blockScaleByte(largest, tensor, kPaper);
    float factor = encodeFactor(decodeE4m3(scaleByte), tensor);
    if (!present) {
        return;
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        a[i] = codeValue(fabsf(__fmul_rn(a[i], factor)), a[i]);
        b[i] = codeValue(fabsf(__fmul_rn(b[i], factor)), b[i]);
    }
    Strip to = stripAt(words, strip, cols);
    uint2 low = packCodes(a);
    uint2 high = packCodes(b);
    *reinterpret_cast<uint4*>(to.codes + col * 2) = make_uint4(low.x, low.y, high.x, high.y);
    if (lane % 8 == 0) {
        to.scales[col / 16] = static_cast<uint8_t>(scaleByte);
    }
}

// The factor of each matrix, by the first block.
__device__ __forceinline__ void writeScales(const float* amax, int matrices, float* scale) {
    if (blockIdx.x == 0 && blockIdx.y == 0) {
        for (int m = threadIdx.x; m < matrices; m += blockDim.x) {
            scale[m] = __fmul_rn(__ldg(amax + m), 1.0f / 2688.0f);
        }
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// largest[index of piece] = max with its largest magnitude; bounds: first and end element of each piece. A block a piece.
extern "C" __global__ void __launch_bounds__(kAmaxThreads) largest_magnitudes(
    const float* __restrict__ x, const long2* __restrict__ bounds, const int* __restrict__ ranges,
    float* __restrict__ largest) {
    long2 piece = bounds[blockIdx.x];
    long from = piece.x + threadIdx.x;
    uint32_t bits = 0;
    if ((reinterpret_cast<uintptr_t>(x + piece.x) & 15) == 0) {
        const float4* wide = reinterpret_cast<const float4*>(x + piece.x);
        long count = (piece.y - piece.x) / 4;
#pragma unroll 4
        for (long i = threadIdx.x; i < count; i += kAmaxThreads) {
            float4 v = __ldg(wide + i);
            bits = max(max(bits, magnitudeBits(v.x)), magnitudeBits(v.y));
            bits = max(max(bits, magnitudeBits(v.z)), magnitudeBits(v.w));
        }
        from += count * 4;
    }
    for (long i = from; i < piece.y; i += kAmaxThreads) {
        bits = max(bits, magnitudeBits(x[i]));
    }
    recordAmax(bits, largest + ranges[blockIdx.x]);
}

// Grid: (ceil(strips / 8), ceil(cols / 64)), block 256.
extern "C" __global__ void __launch_bounds__(256) encode_weights(
    const float* __restrict__ x, int cols, int firstRow, int matrixRows, const float* __restrict__ amax, int strips,
    uint32_t* __restrict__ words) {
    encodeStrips<false>(x, cols, firstRow, matrixRows, amax, strips, words);
}

extern "C" __global__ void __launch_bounds__(256) encode_weights_paper(
    const float* __restrict__ x, int cols, int firstRow, int matrixRows, const float* __restrict__ amax, int strips,
    uint32_t* __restrict__ words) {
    encodeStrips<true>(x, cols, firstRow, matrixRows, amax, strips, words);
}

// out = code * block scale, exact. Grid: (ceil(strips / 8), ceil(cols / 64)), block 256.
extern "C" __global__ void __launch_bounds__(256) decode_weights(
    uint32_t* __restrict__ words, int cols, int strips, const float* __restrict__ amax, int matrices,
    float* __restrict__ scale, __nv_bfloat16* __restrict__ out) {
    writeScales(amax, matrices, scale);
    int strip = blockIdx.x * kWarps + threadIdx.x / 32;
    int col = blockIdx.y * 64 + threadIdx.x % 32 * 2;
    if (strip >= strips || col >= cols) {
        return;
    }
    Strip from = stripAt(words, strip, cols);
    uint4 codes = __ldg(reinterpret_cast<const uint4*>(from.codes + col * 2));
    float decoded = decodeE4m3(from.scales[col / 16]);
    float a[16], b[16];
    unpackCodes(make_uint2(codes.x, codes.y), decoded, a);
    unpackCodes(make_uint2(codes.z, codes.w), decoded, b);
    __nv_bfloat16* to = out + long(strip) * 16 * cols + col;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        storePair(to + long(i) * cols, 2, true, a[i], b[i]);
    }
}

// The same codes where FP4 tensor cores read them. Grid: (ceil(strips / 8), ceil(cols / 32)), block 256.
extern "C" __global__ void __launch_bounds__(256) place_weights(
    uint32_t* __restrict__ words, int cols, int matrixRows, const float* __restrict__ amax, int matrices,
    float* __restrict__ scale, int byColumns, uint8_t* __restrict__ codes, uint8_t* __restrict__ scales) {
    writeScales(amax, matrices, scale);
    Groups groups{nullptr, nullptr, matrices, matrixRows};
    int strip = blockIdx.x * kWarps + threadIdx.x / 32;
    RowSpan span;
    int firstRow;
    if (!spanOfBlock(groups, strip, span, firstRow)) {
        return;
    }
    int lane = threadIdx.x % 32;
    int col = blockIdx.y * 32 + (byColumns != 0 ? lane : lane / 16 * 16);
    if (col >= cols) {
        return;
    }
    Strip from = stripAt(words, strip, cols);
    uint2 block;
    if (byColumns != 0) {
        block = *reinterpret_cast<const uint2*>(from.codes + col * 2);
    } else {
        int row = lane % 16;
        block = make_uint2(0, 0);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            block.x |= (from.codes[(col + i) * 2 + row / 8] >> (row % 8 * 4) & 0xFu) << (4 * i);
            block.y |= (from.codes[(col + 8 + i) * 2 + row / 8] >> (row % 8 * 4) & 0xFu) << (4 * i);
        }
    }
    storeBlock(Codes{codes, scales, nullptr}, groups, span, byColumns != 0, cols,
               byColumns != 0 ? col : firstRow + lane % 16, byColumns != 0 ? firstRow / 16 : col / 16, block,
               from.scales[col / 16]);
}
