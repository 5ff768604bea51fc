// out[r, to .. to + count) = in[r, from .. from + count) for every row; bits unchanged, so one kernel serves every element
// type. The launcher points `in` and `out` at the first column and counts in words of 16, 4 or 2 bytes, the widest that
// both addresses, both row lengths and the width of the copy allow. A thread moves four words, neighbours next to each other.

#include <cstdint>

#include <cuda_runtime.h>

namespace fourfold {

constexpr int kThreads = 256;
constexpr int kWords = 4;

// words: width of the copy; inStride, outStride: words of a whole row.
template <class W>
__device__ __forceinline__ void copyColumns(
    const W* __restrict__ in, W* __restrict__ out, long elements, uint32_t words, long inStride, long outStride) {
    long first = long(blockIdx.x) * (kThreads * kWords) + threadIdx.x;
    W held[kWords];
    long place[kWords];
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        long at = first + i * kThreads;
        long row = elements <= 0xffffffffL ? uint32_t(at) / words : at / words;
        long column = at - row * words;
        place[i] = at < elements ? row * outStride + column : -1;
        if (at < elements) {
            held[i] = in[row * inStride + column];
        }
    }
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        if (place[i] >= 0) {
            out[place[i]] = held[i];
        }
    }
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------

// Grid: ceil(rows * words / 1024), block 256. elements = rows * words.
#define FOURFOLD_COPY_COLUMNS(bytes, W)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) copy_columns_##bytes(                                            \
        const W* in, W* out, long elements, uint32_t words, long inStride, long outStride) {                           \
        fourfold::copyColumns<W>(in, out, elements, words, inStride, outStride);                                       \
    }
FOURFOLD_COPY_COLUMNS(16, uint4)
FOURFOLD_COPY_COLUMNS(4, uint32_t)
FOURFOLD_COPY_COLUMNS(2, uint16_t)
