// FP8 operands as values, for sizes that the FP8 tensor cores do not take, for tests and for telemetry; not a fast path.
//
//   values   of a tensor or group with one factor: its codes as BF16, which are exact, without the factor; with factors for
//            blocks: code * factor as FP32. In the layout of the source.
//   decode   the same from codes as bytes
//   measure  what quantization loses (quantize/measure.cuh)

#include "quantize/fp8_tile.cuh"
#include "quantize/measure.cuh"

namespace fourfold {

__device__ __forceinline__ void put(float* to, float x) { *to = x; }
__device__ __forceinline__ void put(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

// One tile of 128 x 128 a block. kColumns: vectors run along the rows. out, scales (kGroup),
// totals: null = not wanted.
template <Fp8Scaling kScaling, bool kColumns, class T, class Out>
__device__ __forceinline__ void plainTile(const T* x, const Fp8Source& from, Out* out, float* scales, double* totals) {
    __shared__ uint32_t largest[kFp8Tile];
    Fp8TilePlace place;
    if (scales != nullptr && blockIdx.x == 0 && blockIdx.y == 0) {
        for (int g = threadIdx.x; g < from.groups.count; g += kFp8Threads) {
            scales[g] = fp8Scale(from.amax[g]).decode;
        }
    }
    if (!locateTile(from.groups, from.starts, blockIdx.x, place)) {
        return;
    }
    int rows = min(kFp8Tile, place.present);
    int cols = min(kFp8Tile, from.cols - int(blockIdx.y) * kFp8Tile);
    const T* corner = x + long(place.source) * from.cols + blockIdx.y * kFp8Tile;
    auto block = [&](int r, int c) { return kScaling == Fp8Scaling::kSquares ? 0 : kColumns ? c : r; };
    QuantSums sums;
    if constexpr (kScaling != Fp8Scaling::kGroup) {
        if (threadIdx.x < kFp8Tile) {
            largest[threadIdx.x] = 0;
        }
        __syncthreads();
#pragma unroll 1
        for (int e = threadIdx.x; e < kFp8Tile * kFp8Tile; e += kFp8Threads) {
            int r = e / kFp8Tile, c = e % kFp8Tile;
            if (r < rows && c < cols) {
                atomicMax(largest + block(r, c), magnitudeBits(toFloat(corner[long(r) * from.cols + c])));
            }
        }
        __syncthreads();
        int blocks = rows <= 0 ? 0 : kScaling == Fp8Scaling::kSquares ? 1 : kColumns ? cols : rows;
        if (threadIdx.x < blocks) {
            float amax = __uint_as_float(largest[threadIdx.x]);
            sums.addBlock(amax, fp8Scale(amax).decode);
        }
    }
#pragma unroll 1
    for (int e = threadIdx.x; e < kFp8Tile * kFp8Tile; e += kFp8Threads) {
        int r = e / kFp8Tile, c = e % kFp8Tile;
        if (r >= rows || c >= cols) {
            continue;
        }
        float input = toFloat(corner[long(r) * from.cols + c]);
        bool whole = kScaling == Fp8Scaling::kGroup;
        Fp8Scale scale = fp8Scale(whole ? __ldg(from.amax + place.group) : __uint_as_float(largest[block(r, c)]));
        float code = decodeE4m3(encodeE4m3(input, scale.encode));
        float value = whole ? code : __fmul_rn(code, scale.decode);
        if (out != nullptr) {
            put(out + (corner - x) + long(r) * from.cols + c, value);
        }
        if (totals != nullptr) {
            sums.addElement(input, value, scale.encode, whole ? 1.f : scale.decode, whole ? scale.decode : 1.f, 448.f);
        }
    }
    if (totals != nullptr) {
        sums.flush(totals);
    }
}

// Codes of one operand. Rows: [rows, cols] as the source. Columns: transposed, ragged groups at their starts.
struct Fp8Codes {
    const uint8_t* codes;
    const float* scale;  // of blocks, as Fp8Copies says; null for codes alone
    int scaleStride;
    int stride;
};

template <Fp8Scaling kScaling, bool kColumns, class Out>
__device__ __forceinline__ void decodeTile(const Fp8Codes& codes, const Fp8Source& from, Out* out) {
    Fp8TilePlace place;
    if (!locateTile(from.groups, from.starts, blockIdx.x, place)) {
        return;
    }
    int rows = min(kFp8Tile, place.present);
    bool ragged = from.groups.offsets != nullptr;
    int y = place.to / kFp8Tile;
    int down = (from.groups.rows + kFp8Tile - 1) / kFp8Tile;
#pragma unroll 1
    for (int e = threadIdx.x; e < kFp8Tile * kFp8Tile; e += kFp8Threads) {
        int r = e / kFp8Tile, c = blockIdx.y * kFp8Tile + e % kFp8Tile;
        if (r >= rows || c >= from.cols) {
            continue;
        }
        long at = long(place.source + r) * from.cols + c;
        long column = (ragged ? 0 : long(place.group) * from.cols) + c;
        float value = decodeE4m3(codes.codes[kColumns ? column * codes.stride + place.to + r : at]);
        if (kScaling == Fp8Scaling::kVectors) {
            long i = kColumns ? long(y) * from.cols + c : long(blockIdx.y) * codes.scaleStride + place.source + r;
            value = __fmul_rn(value, codes.scale[i]);
        } else if (kScaling == Fp8Scaling::kSquares) {
            int i = kColumns ? (place.group * gridDim.y + blockIdx.y) * down + y
                             : (place.group * down + y) * gridDim.y + blockIdx.y;
            value = __fmul_rn(value, codes.scale[i]);
        }
        put(out + at, value);
    }
}

}  // namespace fourfold

using fourfold::Fp8Scaling;
using fourfold::Fp8Source;
using fourfold::Groups;

// kernels -----------------------------------------------------------------------------------------------------------
// Grids as in fp8_quantize.cu. out, scales and sums of values may be null.

#define FOURFOLD_FP8_VALUES(name, scaling, columns, T, Out)                                                             \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                                \
        name(const T* __restrict__ x, int cols, const int* __restrict__ offsets, const int* __restrict__ starts,        \
             int groups, int groupRows, const float* __restrict__ amax, Out* __restrict__ out,                          \
             float* __restrict__ scales, double* __restrict__ sums) {                                                   \
        fourfold::plainTile<scaling, columns>(                                                                          \
            x, Fp8Source{cols, Groups{offsets, nullptr, groups, groupRows}, starts, amax}, out, scales, sums);          \
    }

#define FOURFOLD_FP8_DECODE(name, scaling, columns, Out)                                                                \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                                \
        name(const uint8_t* __restrict__ codes, const float* __restrict__ scale, int scaleStride, int stride, int cols, \
             const int* __restrict__ offsets, const int* __restrict__ starts, int groups, int groupRows,                \
             Out* __restrict__ out) {                                                                                   \
        fourfold::decodeTile<scaling, columns>(                                                                         \
            fourfold::Fp8Codes{codes, scale, scaleStride, stride},                                                      \
            Fp8Source{cols, Groups{offsets, nullptr, groups, groupRows}, starts, nullptr}, out);                        \
    }

#define FOURFOLD_FP8_SOURCES(suffix, T)                                                                 \
    FOURFOLD_FP8_VALUES(fp8_values_group_##suffix, Fp8Scaling::kGroup, false, T, __nv_bfloat16)         \
    FOURFOLD_FP8_VALUES(fp8_values_rows_##suffix, Fp8Scaling::kVectors, false, T, float)                \
    FOURFOLD_FP8_VALUES(fp8_values_columns_##suffix, Fp8Scaling::kVectors, true, T, float)              \
    FOURFOLD_FP8_VALUES(fp8_values_squares_##suffix, Fp8Scaling::kSquares, false, T, float)

FOURFOLD_FP8_SOURCES(bf16, __nv_bfloat16)
FOURFOLD_FP8_SOURCES(fp32, float)

FOURFOLD_FP8_DECODE(fp8_decode_group_rows, Fp8Scaling::kGroup, false, __nv_bfloat16)
FOURFOLD_FP8_DECODE(fp8_decode_group_columns, Fp8Scaling::kGroup, true, __nv_bfloat16)
FOURFOLD_FP8_DECODE(fp8_decode_vectors_rows, Fp8Scaling::kVectors, false, float)
FOURFOLD_FP8_DECODE(fp8_decode_vectors_columns, Fp8Scaling::kVectors, true, float)
FOURFOLD_FP8_DECODE(fp8_decode_squares_rows, Fp8Scaling::kSquares, false, float)
FOURFOLD_FP8_DECODE(fp8_decode_squares_columns, Fp8Scaling::kSquares, true, float)
