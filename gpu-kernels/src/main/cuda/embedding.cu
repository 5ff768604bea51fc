// Rows of a table by token, and the gradient of the table.
//
//   embedding           out[t, :] = table[tokens[t], :]
//   embedding_backward  dtable[v, :] += sum over the t with tokens[t] = v of dout[t, :], t ascending, in FP32 with one
//                       rounding per addition into a BF16 table. sorted lists the positions t by token, stably
//                       (permutation.cu): one warp per run of equal tokens and 256 columns. No float atomics.
//
// A token outside the vocabulary stops the kernel with a trap.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kWarps = 8;
constexpr int kStep = kWarp * kVector;

template <class T, class O>
__device__ __forceinline__ void embedding(const int* tokens, const T* table, O* out, int count, int vocabulary, int cols) {
    int t = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (t >= count) {
        return;
    }
    int token = tokens[t];
    if (token < 0 || token >= vocabulary) {
        __trap();
    }
    bool wideIn = aligned(table, cols), wideOut = aligned(out, cols);
#pragma unroll 2
    for (int col = threadIdx.x % kWarp * kVector; col < cols; col += kStep) {
        float v[kVector];
        load8(table + long(token) * cols + col, cols - col, wideIn, v);
        store8(out + long(t) * cols + col, cols - col, wideOut, v);
    }
}

template <class D, class T>
__device__ __forceinline__ void backward(
    const int* tokens, const int* sorted, const D* dout, T* dtable, int count, int vocabulary, int cols) {
    int first = blockIdx.x * kWarps + threadIdx.x / kWarp;
    int col = blockIdx.y * kStep + threadIdx.x % kWarp * kVector;
    if (first >= count || col >= cols) {
        return;
    }
    int token = tokens[sorted[first]];
    if (token < 0 || token >= vocabulary) {
        __trap();
    }
    if (first > 0 && tokens[sorted[first - 1]] == token) {
        return;
    }
    bool wideD = aligned(dout, cols), wideT = aligned(dtable, cols);
    T* to = dtable + long(token) * cols + col;
    float sum[kVector];
    load8(to, cols - col, wideT, sum);
    constexpr int kAhead = 3;
#pragma unroll 1
    for (int i = first; i < count; i += kAhead) {
        float v[kAhead][kVector];
        bool same[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            int t = i + a < count ? sorted[i + a] : -1;
            same[a] = t >= 0 && tokens[t] == token;
            if (same[a]) {
                load8(dout + long(t) * cols + col, cols - col, wideD, v[a]);
            }
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            if (same[a]) {
#pragma unroll
                for (int j = 0; j < kVector; ++j) {
                    T rounded;
                    fromFloat(sum[j] + v[a][j], &rounded);
                    sum[j] = toFloat(rounded);
                }
            }
        }
        if (!same[kAhead - 1]) {
            break;
        }
    }
    store8(to, cols - col, wideT, sum);
}

}  // namespace fourfold

using namespace fourfold;

#define EMBEDDING(S, A, B)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                           \
        embedding_##S(const int* tokens, const A* table, B* out, int count, int vocabulary, int cols) {         \
        embedding(tokens, table, out, count, vocabulary, cols);                                                 \
    }                                                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                                           \
        embedding_backward_##S(const int* tokens, const int* sorted, const A* dout, B* dtable, int count,       \
                               int vocabulary, int cols) {                                                      \
        backward(tokens, sorted, dout, dtable, count, vocabulary, cols);                                        \
    }
FOURFOLD_TYPES2(EMBEDDING)
