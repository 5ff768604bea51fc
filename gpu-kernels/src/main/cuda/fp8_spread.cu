// E4M3 operands of rows that are copies of tokens, straight from the tokens: row r of the expert-sorted buffer is token
// slotOfRow[r] / k, zero where the slot is -1 (rows.cu). The copies in BF16 are never stored. Codes and factors are the bits that
// fp8_quantize.cu makes of the stored rows. With one factor a group its amax is the largest of its tokens' amaxes:
//
//   token_amax         amax[t] = largest magnitude of x[t, :], as bits
//   spread_group_amax  amax[g] = largest of the tokens in group g, zero before
//
// Blocks that run at the same time work on the same columns of all rows, so that the k reads of a token come from the L2 cache
// but for the first; with two tiles of columns at a time it is 5% slower, with four 14%.

#include "quantize/fp8_tile.cuh"

namespace fourfold {

struct Spread {
    const int* slotOfRow;
    int k;

    // -1: a row of zeros. A token that does not exist stops the kernel: it would read foreign memory.
    __device__ __forceinline__ int token(int row, int tokens) const {
        int slot = __ldg(slotOfRow + row);
        int token = slot < 0 ? -1 : slot / k;
        if (token >= tokens) {
            __trap();
        }
        return token;
    }
};

template <Fp8Scaling kScaling>
__device__ __forceinline__ void spreadTile(
    const __nv_bfloat16* x, int tokens, const Spread& spread, const Fp8Source& from, const Fp8Copies& to) {
    Fp8TilePlace place;
    if constexpr (kScaling == Fp8Scaling::kGroup) {
        writeGroupScales(from, to);
    }
    if (!locateTile(from.groups, from.starts, blockIdx.x, place)) {
        return;
    }
    int slot = threadIdx.x / 16;
    int col = blockIdx.y * kFp8Tile + threadIdx.x % 16 * 8;
    int token[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        int r = slot * 8 + i;
        token[i] = r < place.present && col < from.cols ? spread.token(place.source + r, tokens) : -1;
    }
    Octet<__nv_bfloat16> raw[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        raw[i].clear();
        if (token[i] >= 0) {
            raw[i].loadCached(x + long(token[i]) * from.cols + col);
        }
    }
    quantizeOctets<kScaling>(raw, place, blockIdx.y, gridDim.y, from, to);
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// cols a multiple of 8. Grid ceil(tokens / 8), block 256.
extern "C" __global__ void __launch_bounds__(256) token_amax(
    const __nv_bfloat16* __restrict__ x, int tokens, int cols, uint32_t* __restrict__ amax) {
    int token = (gridDim.x - 1 - blockIdx.x) * 8 + threadIdx.x / 32;  // from what was written last
    if (token >= tokens) {
        return;
    }
    uint32_t bits = 0;
#pragma unroll 4
    for (int col = threadIdx.x % 32 * 8; col < cols; col += 256) {
        Octet<__nv_bfloat16> octet;
        octet.loadCached(x + long(token) * cols + col);
        float v[8];
        octet.values(v);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            bits = max(bits, magnitudeBits(v[i]));
        }
    }
    bits = __reduce_max_sync(0xffffffffu, bits);
    if (threadIdx.x % 32 == 0) {
        amax[token] = bits;
    }
}

// Grid ceil(rows / 2048), block 256.
extern "C" __global__ void __launch_bounds__(256) spread_group_amax(
    const uint32_t* __restrict__ tokenAmax, int tokens, const int* __restrict__ slotOfRow, int k, int rows,
    const int* __restrict__ offsets, int groups, float* __restrict__ amax) {
    constexpr int kEach = 8;  // rows of a thread: fewer atomic operations
    Groups split{offsets, nullptr, groups, 0};
    int first = (blockIdx.x * 8 + threadIdx.x / 32) * 32 * kEach;
    uint32_t bits[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        int row = first + i * 32 + threadIdx.x % 32;
        int token = row < rows ? Spread{slotOfRow, k}.token(row, tokens) : -1;
        bits[i] = token < 0 ? 0 : __ldg(tokenAmax + token);
    }
    // The rows of a warp are of few groups, mostly one: one maximum for each.
    int end = min(min(rows, first + 32 * kEach), __ldg(offsets + groups));
    for (int at = max(first, __ldg(offsets)); at < end;) {
        RowSpan span;
        spanOfRow(split, at, span);
        uint32_t largest = 0;
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            int row = first + i * 32 + threadIdx.x % 32;
            largest = max(largest, row >= at && row < span.end ? bits[i] : 0);
        }
        recordAmax(largest, amax + span.group);
        at = span.end;
    }
}

// Grid (tiles along the rows as in fp8_quantize.cu, ceil(cols / 128)), block 256.
#define FOURFOLD_FP8_SPREAD(name, scaling, resident)                                                                   \
    extern "C" __global__ void __launch_bounds__(256, resident)                                                        \
        name(const __nv_bfloat16* __restrict__ x, int tokens, const int* __restrict__ slotOfRow, int k, int cols,      \
             const int* __restrict__ offsets, const int* __restrict__ starts, int groups,                              \
             const float* __restrict__ amax, uint8_t* __restrict__ rowCodes, uint8_t* __restrict__ columnCodes,        \
             float* __restrict__ rowScale, float* __restrict__ columnScale, int rowScaleStride, int stride) {          \
        spreadTile<scaling>(x, tokens, Spread{slotOfRow, k},                                                           \
                            Fp8Source{cols, Groups{offsets, nullptr, groups, 0}, starts, amax},                        \
                            Fp8Copies{rowCodes, columnCodes, rowScale, columnScale, rowScaleStride, stride});          \
    }

FOURFOLD_FP8_SPREAD(fp8_spread_group, Fp8Scaling::kGroup, 4)
FOURFOLD_FP8_SPREAD(fp8_spread_vectors, Fp8Scaling::kVectors, 3)
