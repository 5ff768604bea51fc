// Attention for every head dimension up to 256 and for FP32: plain FP32 arithmetic, correct and slow. Semantics as in
// attention_forward.cu and attention_backward.cu; no atomics.
//
//   attention_any           one warp per (query, head), keys one after the other, online softmax
//   attention_any_backward  kinds by blockIdx.z: 0 = one warp per (query, head) for dQ, 1 = one warp per (key, kvHead) for
//                           dK and dV, over all queries of the group that see the key
//   .._part                 of some of the keys: forward merges into FP32 out, backward adds to FP32 gradients
//
// Queries and keys are chunks of the sequences (context parallelism) or all of them. keyWidth: columns of a row of keys and
// values, which begin at keyColumn; so keys may lie beside the queries, or in a tensor of their own.
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

template <bool kPart, int kPerLane, class T, class O>
__device__ __forceinline__ void forward(
    const Attention& shape, const TokenChunks& queries, const TokenChunks& keys, int batches, int dim, const T* qkv,
    const KeyValues<const T>& from, const int* documentStart, O* out, float* logSumExp) {
    long item = long(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    int rows = queries.rows(), keyRows = keys.rows();
    if (item >= long(batches) * rows * shape.heads) {
        return;
    }
    long query = item / shape.heads;
    int head = item % shape.heads, kvHead = head / shape.group();
    int batch = query / rows, row = query % rows, position = queries.position(row);
    float q[kPerLane], o[kPerLane] = {};
    loadHead(qkv + query * shape.width(dim) + long(head) * dim, dim, q);
    float largest = -INFINITY, sum = 0.f;
    int end = keys.rowsBefore(position + 1);
    for (int key = keys.rowsBefore(documentStart[long(batch) * shape.sequence + position]); key < end; ++key) {
        float k[kPerLane], v[kPerLane];
        const T* at = from.at(long(batch) * keyRows + key, kvHead, dim);
        loadHead(at, dim, k);
        loadHead(at + from.valuesOn(dim), dim, v);
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
    float* kept = logSumExp + (long(batch) * shape.heads + head) * rows + row;
    float own = largest + logf(sum), factor = 1.f / sum;
    if constexpr (kPart) {
        if (sum == 0.f) {
            return;  // sees none of these keys
        }
        float before = *kept, top = fmaxf(before, own);
        float both = top + logf(expf(before - top) + expf(own - top));
        float weight = expf(before - both);
        factor *= expf(own - both);
        own = both;
        float x[kPerLane];
        loadHead(out + item * dim, dim, x);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            o[j] = o[j] * factor + weight * x[j];
        }
        factor = 1.f;
        __syncwarp();  // all lanes have read what one writes
    }
    storeHead(out + item * dim, dim, o, factor);
    if (threadIdx.x % kWarp == 0) {
        *kept = own;
    }
}

// Stores a gradient, or adds it.
template <bool kPart, int kPerLane, class T>
__device__ __forceinline__ void storeGradient(T* to, int dim, float (&v)[kPerLane]) {
    if constexpr (kPart) {
        float x[kPerLane];
        loadHead(to, dim, x);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            v[j] += x[j];
        }
    }
    storeHead(to, dim, v, 1.f);
}

template <bool kPart, int kPerLane, class T, class G>
__device__ __forceinline__ void backward(
    const Attention& shape, const TokenChunks& queries, const TokenChunks& keys, int batches, int dim, const T* dout, const T* qkv,
    const KeyValues<const T>& from, const int* documentStart, const T* out, const float* logSumExp, G* dqkv, const KeyValues<G>& to) {
    long item = long(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    bool forQueries = blockIdx.z == 0;
    int perToken = forQueries ? shape.heads : shape.kvHeads;
    int queryRows = queries.rows(), keyRows = keys.rows(), rows = forQueries ? queryRows : keyRows;
    if (item >= long(batches) * rows * perToken) {
        return;
    }
    long own = item / perToken;  // row of all sequences
    int which = item % perToken, batch = own / rows, row = own % rows;
    int position = forQueries ? queries.position(row) : keys.position(row);
    int kvHead = forQueries ? which / shape.group() : which;
    long width = shape.width(dim), firstQuery = long(batch) * queryRows;
    const int* starts = documentStart + long(batch) * shape.sequence;
    // This item's pair of vectors: (q, dO) or (k, v); the loop meets the other pair.
    float a[kPerLane], b[kPerLane], first[kPerLane] = {}, second[kPerLane] = {};
    if (forQueries) {
        loadHead(qkv + own * width + long(which) * dim, dim, a);
        loadHead(dout + (own * shape.heads + which) * dim, dim, b);
    } else {
        loadHead(from.at(own, kvHead, dim), dim, a);
        loadHead(from.at(own, kvHead, dim) + from.valuesOn(dim), dim, b);
    }
    int begin = forQueries ? keys.rowsBefore(starts[position]) : queries.rowsBefore(position);
    int end = forQueries ? keys.rowsBefore(position + 1) : queryRows;
    int heads = forQueries ? 1 : shape.group();
    for (int h = 0; h < heads; ++h) {
        int head = forQueries ? which : kvHead * shape.group() + h;
        const float* lse = logSumExp + (long(batch) * shape.heads + head) * queryRows;
        float ownDelta = 0.f;
        if (forQueries) {
            float x[kPerLane];
            loadHead(out + (own * shape.heads + head) * dim, dim, x);
            ownDelta = dot(x, b);
        }
        for (int other = begin; other < end; ++other) {
            float x[kPerLane], y[kPerLane];
            float delta = ownDelta;
            bool seen = true;
            if (forQueries) {
                const T* at = from.at(long(batch) * keyRows + other, kvHead, dim);
                loadHead(at, dim, x);
                loadHead(at + from.valuesOn(dim), dim, y);
            } else {
                seen = starts[queries.position(other)] <= position;
                if (!seen) {
                    break;  // later queries are of later documents
                }
                float z[kPerLane];
                long query = firstQuery + other;
                loadHead(qkv + query * width + long(head) * dim, dim, x);
                loadHead(dout + (query * shape.heads + head) * dim, dim, y);
                loadHead(out + (query * shape.heads + head) * dim, dim, z);
                delta = dot(y, z);
            }
            float logit = dot(a, x) * shape.scale;
            float p = expf(logit - lse[forQueries ? row : other]);
            float ds = p * (dot(b, y) - delta) * shape.scale;
#pragma unroll
            for (int j = 0; j < kPerLane; ++j) {
                first[j] += ds * x[j];
                second[j] += p * y[j];
            }
        }
    }
    if (forQueries) {
        storeGradient<kPart>(dqkv + own * width + long(which) * dim, dim, first);
    } else {
        storeGradient<kPart>(to.at(own, kvHead, dim), dim, first);
        storeGradient<kPart>(to.at(own, kvHead, dim) + to.valuesOn(dim), dim, second);
    }
}

}  // namespace fourfold

using namespace fourfold;

// N: values per lane, for dim up to 32 N. S, T: name and type of qkv, keys and dout; PART, P, G: name, whether the keys are
// some of all, and type of the results.
#define ANY(N, S, T, PART, P, G)                                                                                         \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp) attention_any##PART##N##_##S(                           \
        const T* qkv, const T* keyValues, const int* documentStart, G* out, float* logSumExp,                            \
        const __grid_constant__ TokenChunks queries, const __grid_constant__ TokenChunks keys, int keyWidth,             \
        int keyColumn, int batch, int dim, int sequence, int heads, int kvHeads, float scale) {                          \
        forward<P, N>({sequence, heads, kvHeads, scale}, queries, keys, batch, dim, qkv,                                 \
                      KeyValues<const T>{keyValues, keyWidth, keyColumn, kvHeads}, documentStart, out, logSumExp);       \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp, 4) attention_any_backward##PART##N##_##S(                  \
        const T* dout, const T* qkv, const T* keyValues, const int* documentStart, const T* out, const float* logSumExp, \
        G* dqkv, G* dkeyValues, const __grid_constant__ TokenChunks queries, const __grid_constant__ TokenChunks keys,   \
        int keyWidth, int keyColumn, int batch, int dim, int sequence, int heads, int kvHeads, float scale) {            \
        backward<P, N>({sequence, heads, kvHeads, scale}, queries, keys, batch, dim, dout, qkv,                          \
                       KeyValues<const T>{keyValues, keyWidth, keyColumn, kvHeads}, documentStart, out, logSumExp, dqkv, \
                       KeyValues<G>{dkeyValues, keyWidth, keyColumn, kvHeads});                                          \
    }
#define ANY_DIM(N)                     \
    ANY(N, fp32, float, , false, float) \
    ANY(N, bf16, bf16, , false, bf16)   \
    ANY(N, fp32, float, _part, true, float) \
    ANY(N, bf16, bf16, _part, true, float)
ANY_DIM(4)
ANY_DIM(8)
