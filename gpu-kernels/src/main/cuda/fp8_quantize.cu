// E4M3 operands with one FP32 factor per matrix or group (FP8 current scaling), bit-equal to the CPU oracle:
// S = min(448 / amax, largest float), 1 where amax is 0 or not finite; code = E4M3(x * S) to nearest even; the factor of the
// finished product is 1 / S. amax comes from group_amax_* of nvfp4_emulate.cu.
//
//   rows      codes as bytes in the layout of the source [rows, cols]
//   columns   codes transposed, so that K = rows is contiguous. Equal groups: [G, cols, rows]. Ragged groups: [cols, stride];
//             group g begins at starts[g], a multiple of 128, and is padded with zeros to the next one.
//   values    codes as BF16 (exact) in the layout of the source, for products without FP8 tensor cores
//
// Bytes need rows and cols that are multiples of 16 (ragged: cols), and a source that is 16-byte aligned.

#include "quantize/groups.cuh"
#include "quantize/load.cuh"
#include "quantize/measure.cuh"

namespace fourfold {

constexpr int kBlockRows = 128;  // ragged groups begin at multiples of it

struct Fp8Scale {
    float encode;
    float decode;
};

__device__ __forceinline__ Fp8Scale fp8Scale(float amax) {
    bool finite = isfinite(amax);
    float encode = amax == 0.f || !finite ? 1.f : fminf(__fdiv_rn(448.f, amax), FLT_MAX);
    return {encode, finite ? __frcp_rn(encode) : __int_as_float(0x7FC00000)};
}

__device__ __forceinline__ uint32_t encodeE4m3(float x, float encode) {
    return __nv_cvt_float_to_fp8(__fmul_rn(x, encode), __NV_SATFINITE, __NV_E4M3);
}

__device__ __forceinline__ uint32_t encodeFour(float a, float b, float c, float d, float encode) {
    uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(__fmul_rn(a, encode), __fmul_rn(b, encode)), __NV_SATFINITE, __NV_E4M3);
    uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(__fmul_rn(c, encode), __fmul_rn(d, encode)), __NV_SATFINITE, __NV_E4M3);
    return low | high << 16;
}

__device__ __forceinline__ void writeScales(const float* amax, int groups, float* scale) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0) {
        for (int g = threadIdx.x; g < groups; g += blockDim.x) {
            scale[g] = fp8Scale(amax[g]).decode;
        }
    }
}

template <class T>
__device__ __forceinline__ void quantizeRows(
    const T* x, int rows, int cols, const Groups& groups, const float* amax, float* scale, uint8_t* out) {
    writeScales(amax, groups.count, scale);
    int row = blockIdx.x * 8 + threadIdx.x / 32;
    RowSpan span;
    if (row >= rows || !spanOfRow(groups, row, span)) {
        return;
    }
    float encode = fp8Scale(__ldg(amax + span.group)).encode;
    for (int col = threadIdx.x % 32 * 16; col < cols; col += 512) {
        float v[16];
        load16(x + long(row) * cols + col, 16, true, v);
        uint4 codes;
        codes.x = encodeFour(v[0], v[1], v[2], v[3], encode);
        codes.y = encodeFour(v[4], v[5], v[6], v[7], encode);
        codes.z = encodeFour(v[8], v[9], v[10], v[11], encode);
        codes.w = encodeFour(v[12], v[13], v[14], v[15], encode);
        *reinterpret_cast<uint4*>(out + long(row) * cols + col) = codes;
    }
}

// 8 neighbouring values as codes, two words.
__device__ __forceinline__ uint2 codesOf8(const uint8_t* from, float) {
    return __ldg(reinterpret_cast<const uint2*>(from));
}

__device__ __forceinline__ uint2 codesOf8(const float* from, float encode) {
    float4 a = __ldg(reinterpret_cast<const float4*>(from));
    float4 b = __ldg(reinterpret_cast<const float4*>(from) + 1);
    return make_uint2(encodeFour(a.x, a.y, a.z, a.w, encode), encodeFour(b.x, b.y, b.z, b.w, encode));
}

__device__ __forceinline__ uint2 codesOf8(const __nv_bfloat16* from, float encode) {
    uint4 q = __ldg(reinterpret_cast<const uint4*>(from));
    float2 a = unpackBf16(q.x), b = unpackBf16(q.y), c = unpackBf16(q.z), d = unpackBf16(q.w);
    return make_uint2(encodeFour(a.x, a.y, b.x, b.y, encode), encodeFour(c.x, c.y, d.x, d.y, encode));
}

// Words of four bytes each, row by row, to column by column.
__device__ __forceinline__ void transpose4x4(uint32_t (&w)[4]) {
    uint32_t a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[2], w[3], 0x5140);
    uint32_t c = __byte_perm(w[0], w[1], 0x7362), d = __byte_perm(w[2], w[3], 0x7362);
    w[0] = __byte_perm(a, b, 0x5410);
    w[1] = __byte_perm(a, b, 0x7632);
    w[2] = __byte_perm(c, d, 0x5410);
    w[3] = __byte_perm(c, d, 0x7632);
}

// A tile of 128 rows x 64 columns per block. T: source type; uint8_t = codes that exist already.
template <class T>
__device__ __forceinline__ void quantizeColumns(
    const T* x, int cols, const Groups& groups, const int* starts, const float* amax, float* scale, uint8_t* out,
    int stride) {
    __shared__ uint32_t tile[64][33];  // [column][four rows]
    if (scale != nullptr) {
        writeScales(amax, groups.count, scale);
    }
    int group, source, present, to, limit;  // to, limit: place of the tile's first row in an output row, and that row's end
    if (groups.offsets == nullptr) {
        int perGroup = (groups.rows + kBlockRows - 1) / kBlockRows;
        group = blockIdx.x / perGroup;
        to = (blockIdx.x - group * perGroup) * kBlockRows;
        source = group * groups.rows + to;
        present = groups.rows - to;
        limit = groups.rows;
        out += long(group) * cols * stride;
    } else {
        to = blockIdx.x * kBlockRows;
        group = groupOf(starts, groups.count, to);
        if (group < 0) {
            return;
        }
        int within = to - __ldg(starts + group);
        int begin = __ldg(groups.offsets + group);
        source = begin + within;
        present = __ldg(groups.offsets + group + 1) - source;
        limit = stride;
    }
    float encode = scale == nullptr ? 1.f : fp8Scale(__ldg(amax + group)).encode;
    int octet = threadIdx.x % 8;
    int quad = threadIdx.x / 8;
    int col = blockIdx.y * 64 + octet * 8;
    uint32_t low[4], high[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int r = quad * 4 + i;
        uint2 codes = make_uint2(0, 0);
        if (r < present && col < cols) {
            codes = codesOf8(x + long(source + r) * cols + col, encode);
        }
        low[i] = codes.x;
        high[i] = codes.y;
    }
    transpose4x4(low);
    transpose4x4(high);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        tile[octet * 8 + i][quad] = low[i];
        tile[octet * 8 + 4 + i][quad] = high[i];
    }
    __syncthreads();
#pragma unroll
    for (int pass = 0; pass < 2; ++pass) {
        int c = pass * 32 + threadIdx.x / 8;
        int chunk = threadIdx.x % 8;
        int k = to + chunk * 16;
        if (blockIdx.y * 64 + c < cols && k < limit) {
            *reinterpret_cast<uint4*>(out + long(blockIdx.y * 64 + c) * stride + k) =
                make_uint4(tile[c][chunk * 4], tile[c][chunk * 4 + 1], tile[c][chunk * 4 + 2], tile[c][chunk * 4 + 3]);
        }
    }
}

template <class T>
__device__ __forceinline__ void quantizeValues(
    const T* x, int rows, int cols, const Groups& groups, const float* amax, float* scale, __nv_bfloat16* out) {
    writeScales(amax, groups.count, scale);
    int row = blockIdx.x * 8 + threadIdx.x / 32;
    RowSpan span;
    if (row >= rows || !spanOfRow(groups, row, span)) {
        return;
    }
    float encode = fp8Scale(__ldg(amax + span.group)).encode;
    for (int col = threadIdx.x % 32; col < cols; col += 32) {
        long i = long(row) * cols + col;
        out[i] = __float2bfloat16_rn(decodeE4m3(encodeE4m3(toFloat(x[i]), encode)));
    }
}

template <class T>
__device__ __forceinline__ void measure(
    const T* x, int rows, int cols, const Groups& groups, const float* amax, double* out) {
    int row = blockIdx.x * 8 + threadIdx.x / 32;
    RowSpan span;
    QuantSums sums;
    if (row < rows && spanOfRow(groups, row, span)) {
        Fp8Scale s = fp8Scale(__ldg(amax + span.group));
        for (int col = threadIdx.x % 32; col < cols; col += 32) {
            float input = toFloat(x[long(row) * cols + col]);
            sums.addElement(input, decodeE4m3(encodeE4m3(input, s.encode)), s.encode, 1.f, s.decode, 448.f);
        }
    }
    sums.flush(out);
}

}  // namespace fourfold

using fourfold::Groups;

// kernels -----------------------------------------------------------------------------------------------------------

// starts[g]: where padded group g begins, a multiple of 128; starts[groups]: their end. One block of 1024 threads.
extern "C" __global__ void __launch_bounds__(1024) fp8_starts(
    const int* __restrict__ offsets, int groups, int* __restrict__ starts) {
    __shared__ int sums[1024];
    int g = threadIdx.x;
    sums[g] = g < groups ? (offsets[g + 1] - offsets[g] + 127) / 128 * 128 : 0;
    __syncthreads();
    for (int distance = 1; distance < 1024; distance *= 2) {
        int before = g >= distance ? sums[g - distance] : 0;
        __syncthreads();
        sums[g] += before;
        __syncthreads();
    }
    if (g < groups) {
        starts[g + 1] = sums[g];
    }
    if (g == 0) {
        starts[0] = 0;
    }
}

// rows, values, measure: grid ceil(rows / 8), block 256. columns: grid (blocks of 128 rows, ceil(cols / 64)), block 256.
#define FOURFOLD_FP8(suffix, T)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) fp8_rows_##suffix(                                               \
        const T* __restrict__ x, int rows, int cols, const int* __restrict__ offsets, int groups, int groupRows,       \
        const float* __restrict__ amax, float* __restrict__ scale, uint8_t* __restrict__ out) {                        \
        fourfold::quantizeRows(x, rows, cols, Groups{offsets, nullptr, groups, groupRows}, amax, scale, out);          \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) fp8_values_##suffix(                                             \
        const T* __restrict__ x, int rows, int cols, const int* __restrict__ offsets, int groups, int groupRows,       \
        const float* __restrict__ amax, float* __restrict__ scale, __nv_bfloat16* __restrict__ out) {                  \
        fourfold::quantizeValues(x, rows, cols, Groups{offsets, nullptr, groups, groupRows}, amax, scale, out);        \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) fp8_measure_##suffix(                                            \
        const T* __restrict__ x, int rows, int cols, const int* __restrict__ offsets, int groups, int groupRows,       \
        const float* __restrict__ amax, double* __restrict__ sums) {                                                   \
        fourfold::measure(x, rows, cols, Groups{offsets, nullptr, groups, groupRows}, amax, sums);                     \
    }

#define FOURFOLD_FP8_COLUMNS(suffix, T)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) fp8_columns_##suffix(                                            \
        const T* __restrict__ x, int cols, const int* __restrict__ offsets, const int* __restrict__ starts,            \
        int groups, int groupRows, const float* __restrict__ amax, float* __restrict__ scale,                          \
        uint8_t* __restrict__ out, int stride) {                                                                       \
        fourfold::quantizeColumns(x, cols, Groups{offsets, nullptr, groups, groupRows}, starts, amax, scale, out,      \
                                  stride);                                                                             \
    }

FOURFOLD_FP8(bf16, __nv_bfloat16)
FOURFOLD_FP8(fp32, float)
FOURFOLD_FP8_COLUMNS(bf16, __nv_bfloat16)
FOURFOLD_FP8_COLUMNS(fp32, float)
FOURFOLD_FP8_COLUMNS(codes, uint8_t)

// Codes as values times their factor (null = 1), same layout. Grid: any, block 256.
#define FOURFOLD_FP8_DECODE(suffix, T, store)                                                                           \
    extern "C" __global__ void __launch_bounds__(256) fp8_decode_##suffix(                                             \
        const uint8_t* __restrict__ codes, const float* __restrict__ scale, T* __restrict__ out, long elements) {      \
        float factor = scale == nullptr ? 1.0f : __ldg(scale);                                                         \
        long step = long(gridDim.x) * blockDim.x;                                                                      \
        for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += step) {                          \
            out[i] = store(__fmul_rn(fourfold::decodeE4m3(codes[i]), factor));                                         \
        }                                                                                                              \
    }
FOURFOLD_FP8_DECODE(fp32, float, )
FOURFOLD_FP8_DECODE(bf16, __nv_bfloat16, __float2bfloat16_rn)

// Ragged groups stored by columns, back to BF16 codes [rows, cols] where the groups lie at their offsets. Rows of no group are
// left alone. Grid: ceil(rows / 8), block 256.
extern "C" __global__ void __launch_bounds__(256) fp8_decode_columns(
    const uint8_t* __restrict__ codes, const int* __restrict__ offsets, const int* __restrict__ starts, int groups,
    int rows, int cols, int stride, __nv_bfloat16* __restrict__ out) {
    int row = blockIdx.x * 8 + threadIdx.x / 32;
    fourfold::RowSpan span;
    if (row >= rows || !fourfold::spanOfRow(Groups{offsets, nullptr, groups, 0}, row, span)) {
        return;
    }
    int k = __ldg(starts + span.group) + row - span.begin;
    for (int col = threadIdx.x % 32; col < cols; col += 32) {
        out[long(row) * cols + col] = __float2bfloat16_rn(fourfold::decodeE4m3(codes[long(col) * stride + k]));
    }
}
