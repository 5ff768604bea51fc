// RMSNorm of every query and key head of packed rows [queries | keys | values] (Qwen3), each over its own headDim values
// with the query or the key weight; values are copied.
//
// A group of `lanes` lanes (a power of two, at least headDim / 8, at most 32: headDim up to 256) takes one head of one
// token, eight values per lane. Groups walk over (token, head) pairs with a stride; in the backward pass each keeps its
// part of both weight gradients in registers, a block adds its groups in order and writes one row of partial sums
// [2 * headDim], which add_partials of elementwise.cu adds in block order. y may not alias qkv; dqkv may alias dy.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kThreads = 256;

struct Heads {
    int tokens, heads, kvHeads, dim, lanes;
    __device__ int perToken() const { return heads + 2 * kvHeads; }
    __device__ int normed() const { return heads + kvHeads; }
};

template <class T, class O>
__device__ __forceinline__ void forward(
    Heads h, const T* qkv, const float* queryWeight, const float* keyWeight, float eps, O* y, float* rstd) {
    int col = threadIdx.x % h.lanes * kVector;
    int groups = kThreads / h.lanes;
    bool wide = aligned(qkv, h.dim) && aligned(y, h.dim), wideW = aligned(queryWeight) && aligned(keyWeight);
    long count = long(h.tokens) * h.perToken();
    long stride = long(gridDim.x) * groups;
    // Whole warps take part in every shuffle: the loop runs to the end of the last lane's group.
    for (long first = long(blockIdx.x) * groups; first < count; first += stride) {
        long item = first + threadIdx.x / h.lanes;
        bool mine = item < count && col < h.dim;
        long token = item / h.perToken();
        int head = static_cast<int>(item - token * h.perToken());
        float v[kVector] = {}, w[kVector];
        if (mine) {
            load8(qkv + item * h.dim + col, h.dim - col, wide, v);
        }
        float squares = 0.f;
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            squares += v[i] * v[i];
        }
        squares = groupSum(squares, h.lanes);
        if (!mine) {
            continue;
        }
        if (head < h.normed()) {
            float r = static_cast<float>(1.0 / sqrt(static_cast<double>(squares / h.dim + eps)));
            load8((head < h.heads ? queryWeight : keyWeight) + col, h.dim - col, wideW, w);
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                v[i] = v[i] * r * w[i];
            }
            if (col == 0) {
                rstd[token * h.normed() + head] = r;
            }
        }
        store8(y + item * h.dim + col, h.dim - col, wide, v);
    }
}

template <class D, class T, class G>
__device__ __forceinline__ void backward(
    Heads h, const D* dy, const T* qkv, const float* queryWeight, const float* keyWeight, const float* rstd, G* dqkv,
    float* partial) {
    __shared__ float sums[kThreads][kVector];
    int col = threadIdx.x % h.lanes * kVector;
    int groups = kThreads / h.lanes;
    bool wide = aligned(qkv, h.dim) && aligned(dy, h.dim) && aligned(dqkv, h.dim);
    long count = long(h.tokens) * h.perToken();
    long stride = long(gridDim.x) * groups;
    float wq[kVector] = {}, wk[kVector] = {};
    if (col < h.dim) {
        load8(queryWeight + col, h.dim - col, aligned(queryWeight), wq);
        load8(keyWeight + col, h.dim - col, aligned(keyWeight), wk);
    }
    float dq[kVector] = {}, dk[kVector] = {};
    for (long first = long(blockIdx.x) * groups; first < count; first += stride) {
        long item = first + threadIdx.x / h.lanes;
        bool mine = item < count && col < h.dim;
        long token = item / h.perToken();
        int head = static_cast<int>(item - token * h.perToken());
        bool query = head < h.heads, normed = head < h.normed();
        float d[kVector] = {}, v[kVector] = {};
        float r = 0.f, dot = 0.f;
        if (mine) {
            load8(dy + item * h.dim + col, h.dim - col, wide, d);
            if (normed) {
                load8(qkv + item * h.dim + col, h.dim - col, wide, v);
                r = rstd[token * h.normed() + head];
            }
        }
        if (normed) {
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                float dw = d[i] * (v[i] * r);
                dq[i] += query ? dw : 0.f;
                dk[i] += query ? 0.f : dw;
                d[i] *= query ? wq[i] : wk[i];
                dot += d[i] * v[i];
            }
        }
        dot = groupSum(dot, h.lanes);
        if (!mine) {
            continue;
        }
        if (normed) {
            float along = r * r * r * (dot / h.dim);
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                d[i] = r * d[i] - along * v[i];
            }
        }
        store8(dqkv + item * h.dim + col, h.dim - col, wide, d);
    }
    for (int kind = 0; kind < 2; ++kind) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            sums[threadIdx.x][i] = kind == 0 ? dq[i] : dk[i];
        }
        __syncthreads();
        for (int c = threadIdx.x; c < h.dim; c += kThreads) {
            float sum = 0.f;
            for (int g = 0; g < groups; ++g) {
                sum += sums[g * h.lanes + c / kVector][c % kVector];
            }
            partial[(long(blockIdx.x) * 2 + kind) * h.dim + c] = sum;
        }
    }
}

}  // namespace fourfold

using namespace fourfold;

#define FORWARD(S, T, O)                                                                                       \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                     \
        head_norm_##S(const T* qkv, int tokens, int heads, int kvHeads, int dim, int lanes,                    \
                      const float* queryWeight, const float* keyWeight, float eps, O* y, float* rstd) {        \
        forward({tokens, heads, kvHeads, dim, lanes}, qkv, queryWeight, keyWeight, eps, y, rstd);              \
    }
FOURFOLD_TYPES2(FORWARD)

// Types: of dy, qkv, dqkv.
#define BACKWARD(S, D, T, G)                                                                                   \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                     \
        head_norm_backward_##S(const D* dy, const T* qkv, int tokens, int heads, int kvHeads, int dim, int lanes, \
                               const float* queryWeight, const float* keyWeight, const float* rstd, G* dqkv,   \
                               float* partial) {                                                               \
        backward({tokens, heads, kvHeads, dim, lanes}, dy, qkv, queryWeight, keyWeight, rstd, dqkv, partial);  \
    }
FOURFOLD_TYPES3(BACKWARD)
