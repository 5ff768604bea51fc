// Attention for every head dimension up to 256 and for FP32: plain FP32 arithmetic, correct and slow. Semantics as in
// attention_forward.cu and attention_backward.cu; no atomics.
//
//   attention_any           one warp per (query, head), keys one after the other, online softmax
//   attention_any_backward  kinds by blockIdx.z: 0 = one warp per (query, head) for dQ, 1 = one warp per (key, kvHead) for
//                           dK and dV, over all queries of the group that see the key
//
// The head's values are spread over the lanes: value d = lane + 32 j.

#include "ops/attention_tile.cuh"

namespace fourfold {

constexpr int kWarps = 4;

template <int kPerLane, class T>
__device__ __forceinline__ void loadHead(const T* from, int dim, float (&v)[kPerLane]) {
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        int d = threadIdx.x % kWarp + j * kWarp;
        v[j] = d < dim ? toFloat(from[d]) : 0.f;
    }
}

template <int kPerLane, class T>
__device__ __forceinline__ void storeHead(T* to, int dim, const float (&v)[kPerLane], float factor) {
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        int d = threadIdx.x % kWarp + j * kWarp;
        if (d < dim) {
            fromFloat(v[j] * factor, to + d);
        }
    }
}

template <int kPerLane>
__device__ __forceinline__ float dot(const float (&a)[kPerLane], const float (&b)[kPerLane]) {
    float sum = 0.f;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        sum += a[j] * b[j];
    }
    return groupSum(sum);
}

template <int kPerLane, class T, class O>
__device__ __forceinline__ void forward(
    const Attention& shape, int tokens, int dim, const T* qkv, const int* documentStart, O* out, float* logSumExp) {
    int item = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (item >= tokens * shape.heads) {
        return;
    }
    long token = item / shape.heads;
    int head = item % shape.heads, kvHead = head / shape.group();
    int row = item / shape.heads % shape.sequence;
    long token0 = token - row, width = shape.width(dim);
    float q[kPerLane], o[kPerLane] = {};
    loadHead(qkv + token * width + long(head) * dim, dim, q);
    float largest = -INFINITY, sum = 0.f;
    for (int key = documentStart[token]; key <= row; ++key) {
        float k[kPerLane], v[kPerLane];
        loadHead(qkv + (token0 + key) * width + shape.keyColumn(kvHead, dim), dim, k);
        loadHead(qkv + (token0 + key) * width + shape.valueColumn(kvHead, dim), dim, v);
        float s = dot(q, k) * shape.scale;
        float top = fmaxf(largest, s);
        float shrink = expf(largest - top), p = expf(s - top);
        largest = top;
        sum = sum * shrink + p;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            o[j] = o[j] * shrink + p * v[j];
        }
    }
    storeHead(out + long(item) * dim, dim, o, 1.f / sum);
    if (threadIdx.x % kWarp == 0) {
        logSumExp[(token / shape.sequence * shape.heads + head) * shape.sequence + row] = largest + logf(sum);
    }
}

template <int kPerLane, class D, class T, class G>
__device__ __forceinline__ void backward(
    const Attention& shape, int tokens, int dim, const D* dout, const T* qkv, const int* documentStart, const D* out,
    const float* logSumExp, G* dqkv) {
    int item = blockIdx.x * kWarps + threadIdx.x / kWarp;
    bool forQueries = blockIdx.z == 0;
    int perToken = forQueries ? shape.heads : shape.kvHeads;
    if (item >= tokens * perToken) {
        return;
    }
    long token = item / perToken;
    int which = item % perToken;
    int position = item / perToken % shape.sequence;
    long token0 = token - position, width = shape.width(dim);
    int kvHead = forQueries ? which / shape.group() : which;
    // This item's pair of vectors: (q, dO) or (k, v); the loop meets the other pair.
    float a[kPerLane], b[kPerLane], first[kPerLane] = {}, second[kPerLane] = {};
    loadHead(qkv + token * width + (forQueries ? long(which) * dim : shape.keyColumn(kvHead, dim)), dim, a);
    if (forQueries) {
        loadHead(dout + (token * shape.heads + which) * dim, dim, b);
    } else {
        loadHead(qkv + token * width + shape.valueColumn(kvHead, dim), dim, b);
    }
    int heads = forQueries ? 1 : shape.group();
    for (int h = 0; h < heads; ++h) {
        int head = forQueries ? which : kvHead * shape.group() + h;
        const float* lse = logSumExp + (token / shape.sequence * shape.heads + head) * shape.sequence;
        float own = 0.f;
        if (forQueries) {
            float x[kPerLane];
            loadHead(out + (token * shape.heads + head) * dim, dim, x);
            own = dot(x, b);
        }
        int from = forQueries ? documentStart[token] : position;
        int to = forQueries ? position + 1 : shape.sequence;
        for (int other = from; other < to; ++other) {
            long otherToken = token0 + other;
            float x[kPerLane], y[kPerLane];
            float delta = own;
            if (forQueries) {
                loadHead(qkv + otherToken * width + shape.keyColumn(kvHead, dim), dim, x);
                loadHead(qkv + otherToken * width + shape.valueColumn(kvHead, dim), dim, y);
            } else {
                float z[kPerLane];
                loadHead(qkv + otherToken * width + long(head) * dim, dim, x);
                loadHead(dout + (otherToken * shape.heads + head) * dim, dim, y);
                loadHead(out + (otherToken * shape.heads + head) * dim, dim, z);
                delta = dot(y, z);
            }
            bool seen = forQueries || documentStart[otherToken] <= position;
            float logit = dot(a, x) * shape.scale;
            float p = seen ? expf(logit - lse[forQueries ? position : other]) : 0.f;
            float ds = p * (dot(b, y) - delta) * shape.scale;
#pragma unroll
            for (int j = 0; j < kPerLane; ++j) {
                first[j] += ds * x[j];
                second[j] += p * y[j];
            }
        }
    }
    if (forQueries) {
        storeHead(dqkv + token * width + long(which) * dim, dim, first, 1.f);
    } else {
        storeHead(dqkv + token * width + shape.keyColumn(kvHead, dim), dim, first, 1.f);
        storeHead(dqkv + token * width + shape.valueColumn(kvHead, dim), dim, second, 1.f);
    }
}

}  // namespace fourfold

using namespace fourfold;

// N: values per lane, for dim up to 32 N. S, T: type of qkv and dqkv, out and dout alike.
#define ANY(N, S, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp)                                                  \
        attention_any##N##_##S(const T* qkv, const int* documentStart, T* out, float* logSumExp, int tokens, int dim, \
                               int sequence, int heads, int kvHeads, float scale) {                               \
        forward<N>({sequence, heads, kvHeads, scale}, tokens, dim, qkv, documentStart, out, logSumExp);           \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp)                                                  \
        attention_any_backward##N##_##S(const T* dout, const T* qkv, const int* documentStart, const T* out,      \
                                        const float* logSumExp, T* dqkv, int tokens, int dim, int sequence,       \
                                        int heads, int kvHeads, float scale) {                                    \
        backward<N>({sequence, heads, kvHeads, scale}, tokens, dim, dout, qkv, documentStart, out, logSumExp, dqkv); \
    }
ANY(4, fp32, float)
ANY(4, bf16, bf16)
ANY(8, fp32, float)
ANY(8, bf16, bf16)
