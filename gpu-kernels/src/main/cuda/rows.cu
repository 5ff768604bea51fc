// Moves rows by index. One warp per output row, or fewer lanes (a power of two) where rows are short; words of 16, 4 or 2 bytes, the widest that the row length and the
// addresses allow.
//
//   gather_rows  out[r, :] = x[index[r] / divisor, :], zeros where the index is -1; any element type, bits unchanged
//   spread_rows  the same of rows that were taken k times each, by way of the inverse: out[rowOfSlot[t*k + j], :] = x[t, :], -1
//                skipped. Gathering reads a row k times, far apart, mostly from memory; this reads it once.
//                with an index: of the rows x[index[t] / divisor, :]
//   clear_rows   out[r, :] = 0 where slotOfRow[r] is -1: the rows that spreading leaves out
//   sum_rows     out[t, :] = sum over j ascending of y[rowOfSlot[t*k + j], :], -1 skipped; FP32, one rounding
//   sum_rows_and_own   the same where rows from .. from + n of y are sums not made yet: of own[rowOfOwnSlot[(r - from)*k + i], :]
//
// An index outside the source stops the kernel with a trap: it would read foreign memory.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kWarps = 8;

template <class W>
__device__ __forceinline__ W zeroWord() {
    if constexpr (sizeof(W) == 16) {
        return make_uint4(0, 0, 0, 0);
    } else {
        return 0;
    }
}

template <class W>
__device__ __forceinline__ void gather(
    const W* x, const int* index, int divisor, W* out, int rows, int sources, int words, int lanes) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / lanes;
    if (row >= rows) {
        return;
    }
    int i = index[row];
    W* to = out + long(row) * words;
    int lane = threadIdx.x % lanes;
    if (i < 0) {
        for (int w = lane; w < words; w += lanes) {
            to[w] = zeroWord<W>();
        }
        return;
    }
    int source = divisor == 1 ? i : i / divisor;
    if (source >= sources) {
        __trap();
    }
    const W* from = x + long(source) * words;
    // Four loads before the first store: the compiler may not reorder them, the pointers could alias.
    int w = lane;
    for (; w + 3 * lanes < words; w += 4 * lanes) {
        W held[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            held[j] = from[w + j * lanes];
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            to[w + j * lanes] = held[j];
        }
    }
    for (; w < words; w += lanes) {
        to[w] = from[w];
    }
}

// `lanes` lanes per token.
template <class W>
__device__ __forceinline__ void spread(const W* x, const int* index, int divisor, int sources, const int* rowOfSlot, int k,
    W* out, int tokens, int rows, int words, int lanes) {
    int token = (blockIdx.x * blockDim.x + threadIdx.x) / lanes;
    if (token >= tokens) {
        return;
    }
    const int* slots = rowOfSlot + long(token) * k;
    int source = index == nullptr ? token : index[token] / divisor;
    if (source < 0 || source >= sources) {
        __trap();
    }
    const W* from = x + long(source) * words;
    for (int first = threadIdx.x % lanes; first < words; first += 4 * lanes) {
        W held[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (first + i * lanes < words) {
                held[i] = from[first + i * lanes];
            }
        }
        for (int j = 0; j < k; ++j) {
            int row = slots[j];
            if (row >= rows) {
                __trap();
            }
            W* to = out + long(row) * words;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (row >= 0 && first + i * lanes < words) {
                    to[first + i * lanes] = held[i];
                }
            }
        }
    }
}

// One thread looks at each row; the warp clears those of its 32 that are empty.
template <class W>
__device__ __forceinline__ void clear(const int* slotOfRow, W* out, int rows, int words) {
    int row = blockIdx.x * kWarps * kWarp + threadIdx.x;
    unsigned empty = __ballot_sync(kAllLanes, row < rows && slotOfRow[min(row, rows - 1)] < 0);
    for (; empty != 0; empty &= empty - 1) {
        W* to = out + long(row / kWarp * kWarp + __ffs(empty) - 1) * words;
        for (int w = threadIdx.x % kWarp; w < words; w += kWarp) {
            to[w] = zeroWord<W>();
        }
    }
}

constexpr int kSlots = 8;

template <class I, class O>
__device__ __forceinline__ void sum(const I* y, const int* rowOfSlot, int k, O* out, int tokens, int sources, int cols) {
    int token = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (token >= tokens) {
        return;
    }
    const int* slots = rowOfSlot + long(token) * k;
    O* to = out + long(token) * cols;
    bool wideIn = aligned(y, cols), wideOut = aligned(out, cols);
    for (int col = threadIdx.x % kWarp * kVector; col < cols; col += kWarp * kVector) {
        float total[kVector] = {};
        for (int first = 0; first < k; first += kSlots) {
#pragma unroll
            for (int j = 0; j < kSlots; ++j) {
                int row = first + j < k ? slots[first + j] : -1;
                if (row >= sources) {
                    __trap();
                }
                if (row >= 0) {
                    float v[kVector];
                    load8(y + long(row) * cols + col, cols - col, wideIn, v);
#pragma unroll
                    for (int i = 0; i < kVector; ++i) {
                        total[i] += v[i];
                    }
                }
            }
        }
        store8(to + col, cols - col, wideOut, total);
    }
}

template <class I>
__device__ __forceinline__ void addRow(const I* y, int row, int sources, int cols, int col, bool wide, float* total) {
    if (row >= sources) {
        __trap();
    }
    if (row >= 0) {
        float v[kVector];
        load8(y + long(row) * cols + col, cols - col, wide, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            total[i] += v[i];
        }
    }
}

template <class I, class O>
__device__ __forceinline__ void sumAndOwn(const I* y, const int* rowOfSlot, int from, int count, const I* own,
    const int* rowOfOwnSlot, int k, O* out, int tokens, int sources, int ownSources, int cols) {
    int token = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (token >= tokens) {
        return;
    }
    const int* slots = rowOfSlot + long(token) * k;
    O* to = out + long(token) * cols;
    bool wideIn = aligned(y, cols), wideOwn = aligned(own, cols), wideOut = aligned(out, cols);
    for (int col = threadIdx.x % kWarp * kVector; col < cols; col += kWarp * kVector) {
        float total[kVector] = {};
        for (int j = 0; j < k; ++j) {
            int row = slots[j];
            if (row < from || row >= from + count) {
                addRow(y, row, sources, cols, col, wideIn, total);
                continue;
            }
            const int* mine = rowOfOwnSlot + long(row - from) * k;
#pragma unroll 4
            for (int i = 0; i < k; ++i) {
                addRow(own, mine[i], ownSources, cols, col, wideOwn, total);
            }
        }
        store8(to + col, cols - col, wideOut, total);
    }
}

}  // namespace fourfold

using namespace fourfold;

#define GATHER(BYTES, W)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                          \
        gather_rows_##BYTES(const W* x, const int* index, int divisor, W* out, int rows, int sources, int words, \
                            int lanes) {                                                                       \
        gather(x, index, divisor, out, rows, sources, words, lanes);                                           \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(256)                                                          \
        spread_rows_##BYTES(const W* x, const int* index, int divisor, int sources, const int* rowOfSlot,      \
                            int k, W* out, int tokens, int rows, int words, int lanes) {                       \
        spread(x, index, divisor, sources, rowOfSlot, k, out, tokens, rows, words, lanes);                     \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(256)                                                          \
        clear_rows_##BYTES(const int* slotOfRow, W* out, int rows, int words) {                                \
        clear(slotOfRow, out, rows, words);                                                                    \
    }
GATHER(16, uint4)
GATHER(4, uint32_t)
GATHER(2, uint16_t)

#define SUM(S, I, O)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                           \
        sum_rows_##S(const I* y, const int* rowOfSlot, int k, O* out, int tokens, int sources, int cols) {      \
        sum(y, rowOfSlot, k, out, tokens, sources, cols);                                                       \
    }
FOURFOLD_TYPES2(SUM)

#define SUM_AND_OWN(S, I, O)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) sum_rows_and_own_##S(                                     \
        const I* y, const int* rowOfSlot, int from, int count, const I* own, const int* rowOfOwnSlot, int k,    \
        O* out, int tokens, int sources, int ownSources, int cols) {                                            \
        sumAndOwn(y, rowOfSlot, from, count, own, rowOfOwnSlot, k, out, tokens, sources, ownSources, cols);     \
    }
FOURFOLD_TYPES2(SUM_AND_OWN)
