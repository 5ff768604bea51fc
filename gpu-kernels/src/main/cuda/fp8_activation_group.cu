// SwiGLU and its backward straight into E4M3 operands with one factor a group, in two passes over the inputs: the largest
// magnitude of what activation.cu would store, then the codes of it. The result is computed twice and stored once, in bytes: less
// traffic than to store it as BF16, read it for its amax and read it again. The same bits, since rounding to BF16 is
// monotonic and so commutes with the maximum. Formulas: activation.cu, quantize/fp8.cuh. Ragged groups, the width a multiple
// of 128.
//
//   forward    in [R, 2W] = [gate | up]                -> operands of [R, W]
//   backward   dout [R, W], in [R, 2W]                 -> operands of din [R, 2W]; the first pass writes dprobability [R],
//              zero for rows of no group

#include "quantize/fp8_swiglu.cuh"

namespace fourfold {

constexpr int kWarps = 8;
constexpr int kRowsPerWarp = 4;  // fewer atomic operations
constexpr int kStep = 32 * 8;

// Up the matrix, from what the product before has written last; the second pass comes down.
__device__ __forceinline__ int firstRow() {
    return (int(gridDim.x - 1 - blockIdx.x) * kWarps + int(threadIdx.x / 32)) * kRowsPerWarp;
}

// The largest magnitude over rows that a warp takes in ascending order.
struct RunningAmax {
    const Groups& groups;
    float* amax;
    RowSpan span{-1, 0, 0};
    uint32_t bits = 0;

    // False for a row of no group.
    __device__ __forceinline__ bool enter(int row) {
        if (span.group >= 0 && row < span.end) {
            return true;
        }
        flush();
        return spanOfRow(groups, row, span);
    }

    __device__ __forceinline__ void flush() {
        if (span.group >= 0) {
            float rounded = __bfloat162float(__float2bfloat16_rn(__uint_as_float(bits)));
            recordAmax(magnitudeBits(rounded), amax + span.group);
        }
        bits = 0;
    }
};

__device__ __forceinline__ void loadOctet(const __nv_bfloat16* from, float (&v)[8]) {
    Octet<__nv_bfloat16> octet;
    octet.loadCached(from);
    octet.values(v);
}

__device__ __forceinline__ void amaxOfActivated(const ActivationSource& x, int rows, const Groups& groups, float* amax) {
    RunningAmax running{groups, amax};
    int first = firstRow();
#pragma unroll 1
    for (int row = first; row < min(rows, first + kRowsPerWarp); ++row) {
        if (!running.enter(row)) {
            continue;
        }
        const __nv_bfloat16* at = x.row(row);
        float p = x.probabilityOf(row);
#pragma unroll 2
        for (int col = threadIdx.x % 32 * 8; col < x.width; col += kStep) {
            float g[8], u[8];
            loadOctet(at + col, g);
            loadOctet(at + x.width + col, u);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                running.bits = max(running.bits, magnitudeBits(swiglu(g[i], u[i], p)));
            }
        }
    }
    running.flush();
}

__device__ __forceinline__ void amaxOfGradients(
    const __nv_bfloat16* dout, const ActivationSource& x, int rows, const Groups& groups, float* amax, float* dprobability) {
    RunningAmax running{groups, amax};
    int first = firstRow();
#pragma unroll 1
    for (int row = first; row < min(rows, first + kRowsPerWarp); ++row) {
        float dot = 0.f;
        if (running.enter(row)) {
            const __nv_bfloat16* upstream = dout + long(row) * x.width;
            const __nv_bfloat16* at = x.row(row);
            float p = x.probabilityOf(row);
#pragma unroll 2
            for (int col = threadIdx.x % 32 * 8; col < x.width; col += kStep) {
                float d[8], g[8], u[8];
                loadOctet(upstream + col, d);
                loadOctet(at + col, g);
                loadOctet(at + x.width + col, u);
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    swigluBackward(d[i], g[i], u[i], p);
                    dot += d[i];
                    running.bits = max(running.bits, max(magnitudeBits(g[i]), magnitudeBits(u[i])));
                }
            }
        }
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) {
            dot += __shfl_xor_sync(0xffffffffu, dot, distance);
        }
        if (threadIdx.x % 32 == 0) {
            dprobability[row] = dot;
        }
    }
    running.flush();
}

// Codes of eight values rounded to BF16.
__device__ __forceinline__ uint2 roundAndEncode(const float (&v)[8], float encode) {
    Octet<__nv_bfloat16> rounded;
    pack(v, rounded);
    float r[8];
    rounded.values(r);
    return encodeOctet(r, encode);
}

__device__ __forceinline__ void activateTile(
    const ActivationSource& x, const Fp8Source& from, const Fp8Copies& to) {
    __shared__ uint2 codesOfTile[kFp8Tile][16];
    Fp8TilePlace place;
    writeGroupScales(from, to);
    Fp8TileIndex tile = tileOfPanel();
    if (!locateTile(from.groups, from.starts, tile.row, place)) {
        return;
    }
    float encode = fp8Scale(__ldg(from.amax + place.group)).encode;
    int octet = threadIdx.x % 16;
    int slot = threadIdx.x / 16;
    int col = tile.column * kFp8Tile + octet * 8;
    uint2 codes[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        codes[i] = make_uint2(0, 0);
        if (slot * 8 + i < place.present) {
            int row = place.source + slot * 8 + i;
            const __nv_bfloat16* at = x.row(row) + col;
            Octet<__nv_bfloat16> gate, up;
            gate.load(at);
            up.load(at + x.width);
            float p = x.probabilityOf(row);
            float g[8], u[8];
            gate.values(g);
            up.values(u);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                g[j] = swiglu(g[j], u[j], p);
            }
            codes[i] = roundAndEncode(g, encode);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        if (slot * 8 + i < place.present) {
            *reinterpret_cast<uint2*>(to.rowCodes + long(place.source + slot * 8 + i) * from.cols + col) = codes[i];
        }
    }
    storeTransposed(codesOfTile, codes, octet, slot);
    __syncthreads();
    writeColumns(codesOfTile, place, tile.column, from, to);
}

// from.cols is 2W: this block's tiles are one of the gate's and the one of the same columns of up's.
__device__ __forceinline__ void differentiateTile(
    const __nv_bfloat16* dout, const ActivationSource& x, const Fp8Source& from, const Fp8Copies& to) {
    __shared__ uint2 tiles[2][kFp8Tile][16];
    Fp8TilePlace place;
    writeGroupScales(from, to);
    Fp8TileIndex tile = tileOfPanel();
    if (!locateTile(from.groups, from.starts, tile.row, place)) {
        return;
    }
    float encode = fp8Scale(__ldg(from.amax + place.group)).encode;
    int octet = threadIdx.x % 16;
    int slot = threadIdx.x / 16;
    int col = tile.column * kFp8Tile + octet * 8;
    uint2 gateCodes[8], upCodes[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        gateCodes[i] = upCodes[i] = make_uint2(0, 0);
        if (slot * 8 + i < place.present) {
            int row = place.source + slot * 8 + i;
            const __nv_bfloat16* at = x.row(row) + col;
            Octet<__nv_bfloat16> upstream, gate, up;
            upstream.load(dout + long(row) * x.width + col);
            gate.load(at);
            up.load(at + x.width);
            float p = x.probabilityOf(row);
            float d[8], g[8], u[8];
            upstream.values(d);
            gate.values(g);
            up.values(u);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                swigluBackward(d[j], g[j], u[j], p);
            }
            gateCodes[i] = roundAndEncode(g, encode);
            upCodes[i] = roundAndEncode(u, encode);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        if (slot * 8 + i < place.present) {
            uint8_t* codes = to.rowCodes + long(place.source + slot * 8 + i) * from.cols + col;
            *reinterpret_cast<uint2*>(codes) = gateCodes[i];
            *reinterpret_cast<uint2*>(codes + x.width) = upCodes[i];
        }
    }
    storeTransposed(tiles[0], gateCodes, octet, slot);
    storeTransposed(tiles[1], upCodes, octet, slot);
    __syncthreads();
    writeColumns(tiles[0], place, tile.column, from, to);
    writeColumns(tiles[1], place, gridDim.y + tile.column, from, to);
}

}  // namespace fourfold

using fourfold::ActivationSource;
using fourfold::Fp8Copies;
using fourfold::Fp8Source;
using fourfold::Groups;

// kernels -----------------------------------------------------------------------------------------------------------
// amax [groups], zero before the first pass. First pass: grid ceil(rows / 32), block 256.

extern "C" __global__ void __launch_bounds__(256) fp8_group_swiglu_amax(
    const __nv_bfloat16* __restrict__ in, const float* __restrict__ probability, int rows, int width,
    const int* __restrict__ offsets, int groups, float* __restrict__ amax) {
    fourfold::amaxOfActivated(ActivationSource{in, probability, width}, rows, Groups{offsets, nullptr, groups, 0}, amax);
}

extern "C" __global__ void __launch_bounds__(256) fp8_group_swiglu_backward_amax(
    const __nv_bfloat16* __restrict__ dout, const __nv_bfloat16* __restrict__ in, const float* __restrict__ probability,
    int rows, int width, const int* __restrict__ offsets, int groups, float* __restrict__ amax,
    float* __restrict__ dprobability) {
    fourfold::amaxOfGradients(
        dout, ActivationSource{in, probability, width}, rows, Groups{offsets, nullptr, groups, 0}, amax, dprobability);
}

// Second pass: grid (tiles along the rows as in fp8_quantize.cu, width / 128), block 256.

extern "C" __global__ void __launch_bounds__(256, 5) fp8_group_swiglu(
    const __nv_bfloat16* __restrict__ in, const float* __restrict__ probability, int width,
    const int* __restrict__ offsets, const int* __restrict__ starts, int groups, const float* __restrict__ amax,
    uint8_t* __restrict__ rowCodes, uint8_t* __restrict__ columnCodes, float* __restrict__ rowScale,
    float* __restrict__ columnScale, int rows, int stride) {
    fourfold::activateTile(ActivationSource{in, probability, width},
                           Fp8Source{width, Groups{offsets, nullptr, groups, 0}, starts, amax},
                           Fp8Copies{rowCodes, columnCodes, rowScale, columnScale, rows, stride});
}

extern "C" __global__ void __launch_bounds__(256, 4) fp8_group_swiglu_backward(
    const __nv_bfloat16* __restrict__ dout, const __nv_bfloat16* __restrict__ in, const float* __restrict__ probability,
    int width, const int* __restrict__ offsets, const int* __restrict__ starts, int groups,
    const float* __restrict__ amax, uint8_t* __restrict__ rowCodes, uint8_t* __restrict__ columnCodes,
    float* __restrict__ rowScale, float* __restrict__ columnScale, int rows, int stride) {
    fourfold::differentiateTile(dout, ActivationSource{in, probability, width},
                                Fp8Source{2 * width, Groups{offsets, nullptr, groups, 0}, starts, amax},
                                Fp8Copies{rowCodes, columnCodes, rowScale, columnScale, rows, stride});
}
