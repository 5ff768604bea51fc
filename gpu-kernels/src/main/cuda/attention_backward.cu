// Backward of attention_forward.cu, BF16 on tensor cores (arXiv:2307.08691 section 3.1.2), in three kernels without
// atomics, so that every run gives the same bits. With P = exp(scale Q K^T - logSumExp), D_i = dot(dO_i, O_i):
//
//   dV = P^T dO;   dS = P (dO V^T - D);   dQ = scale dS K;   dK = scale dS^T Q
//
//   attention_delta       D [B, heads, S]
//   attention_backward_kv one block of four warps per 64 keys: over all query tiles of all heads of the group that can see
//                         them, computes S^T and dP^T (a warp owns 16 keys) and keeps dK, dV in registers
//   attention_backward_q  one block of four warps per 64 queries, over the key tiles they see; keeps dQ in registers
//
// P and dS are rounded to BF16 for the products, everything else is FP32. The next tile is copied while one is used.

#include "ops/attention_tile.cuh"

namespace fourfold {

constexpr int kThreads = 128;
constexpr int kBlock = 64;  // keys of a kv block, queries of a q block

struct Tensors {
    const bf16 *dout, *qkv;
    const int* documentStart;
    const float *logSumExp, *delta;
    bf16* dqkv;
};

// kQueries: queries per step.
template <int kDim, int kQueries>
__device__ __forceinline__ void backwardKv(const Attention& shape, const Tensors& t) {
    extern __shared__ __align__(16) bf16 shared[];
    using T = Tile<kDim>;
    constexpr int kTiles = kQueries / 8;
    T keys = {sharedAddress(shared)};
    T values = {keys.base + T::bytes(kBlock)};
    T stages = {values.base + T::bytes(kBlock)};  // two times queries and gradients
    __shared__ float rowLse[2][kQueries], rowDelta[2][kQueries];
    __shared__ int rowStart[2][kQueries];
    int kvHead = blockIdx.x % shape.kvHeads, batch = blockIdx.x / shape.kvHeads;
    int firstKey = blockIdx.y * kBlock;
    long width = shape.width(kDim), outWidth = long(shape.heads) * kDim, token0 = long(batch) * shape.sequence;
    const bf16* rows = t.qkv + token0 * width;
    const int* starts = t.documentStart + token0;
    int lastKey = min(firstKey + kBlock, shape.sequence) - 1;

    keys.template copyRows<kBlock, kThreads>(rows + firstKey * width + shape.keyColumn(kvHead, kDim), width, shape.sequence - firstKey);
    values.template copyRows<kBlock, kThreads>(rows + firstKey * width + shape.valueColumn(kvHead, kDim), width, shape.sequence - firstKey);
    // The last query whose document began by the last key of this block.
    int lastQuery = firstKey;
    for (int i = firstKey + threadIdx.x; i < shape.sequence; i += kThreads) {
        lastQuery = starts[i] <= lastKey ? i : lastQuery;
    }
    lastQuery = blockRange(0, lastQuery).y;
    int firstQuery = firstKey / kQueries * kQueries;
    int perHead = (lastQuery - firstQuery) / kQueries + 1;
    int steps = perHead * shape.group();

    auto stage = [&](int step) {
        int buffer = step & 1;
        int head = kvHead * shape.group() + step / perHead;
        int query = firstQuery + step % perHead * kQueries;
        T q = {stages.base + buffer * 2 * T::bytes(kQueries)};
        T d = {q.base + T::bytes(kQueries)};
        q.template copyRows<kQueries, kThreads>(rows + query * width + long(head) * kDim, width, shape.sequence - query);
        d.template copyRows<kQueries, kThreads>(t.dout + (token0 + query) * outWidth + long(head) * kDim, outWidth, shape.sequence - query);
        if (int(threadIdx.x) < kQueries) {
            int row = query + threadIdx.x;
            bool exists = row < shape.sequence;
            long at = (long(batch) * shape.heads + head) * shape.sequence + row;
            rowLse[buffer][threadIdx.x] = exists ? t.logSumExp[at] * kLog2E : INFINITY;
            rowDelta[buffer][threadIdx.x] = exists ? t.delta[at] : 0.f;
            rowStart[buffer][threadIdx.x] = exists ? starts[row] : 0x7fffffff;
        }
        commitCopies();
    };

    float dk[kDim / 8][4] = {}, dv[kDim / 8][4] = {};
    int lane = threadIdx.x % kWarp, g = lane / 4, c = lane % 4 * 2, warpRow = threadIdx.x / kWarp * 16;
    float factor = shape.scale * kLog2E;
    stage(0);
    for (int step = 0; step < steps; ++step) {
        awaitCopies<0>();
        __syncthreads();
        if (step + 1 < steps) {
            stage(step + 1);
        }
        int buffer = step & 1;
        int query = firstQuery + step % perHead * kQueries;
        T q = {stages.base + buffer * 2 * T::bytes(kQueries)};
        T d = {q.base + T::bytes(kQueries)};
        float p[kTiles][4] = {}, dp[kTiles][4] = {};
        multiplyRows<kDim, kTiles>(p, keys, warpRow, q);
        multiplyRows<kDim, kTiles>(dp, values, warpRow, d);
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                int column = n * 8 + c + i;
                float lse = rowLse[buffer][column], delta = rowDelta[buffer][column];
                int start = rowStart[buffer][column];
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    int key = firstKey + warpRow + g + h * 8;
                    bool seen = key <= query + column && key >= start;
                    float x = seen ? exp2Fast(p[n][h * 2 + i] * factor - lse) : 0.f;
                    p[n][h * 2 + i] = x;
                    dp[n][h * 2 + i] = x * (dp[n][h * 2 + i] - delta);
                }
            }
        }
        multiplyColumns<kDim, kTiles>(dv, p, d);
        multiplyColumns<kDim, kTiles>(dk, dp, q);
    }
    bf16* to = t.dqkv + (token0 + firstKey + warpRow) * width;
    int limit = shape.sequence - firstKey - warpRow;
    bf16* scratch = shared + warpRow * T::kStride;  // this warp alone reads these key rows
    storeRows<kDim>(dk, make_float2(shape.scale, shape.scale), scratch, to + shape.keyColumn(kvHead, kDim), width, limit);
    storeRows<kDim>(dv, make_float2(1.f, 1.f), scratch, to + shape.valueColumn(kvHead, kDim), width, limit);
}

// kKeys: keys per step.
template <int kDim, int kKeys>
__device__ __forceinline__ void backwardQ(const Attention& shape, const Tensors& t) {
    extern __shared__ __align__(16) bf16 shared[];
    using T = Tile<kDim>;
    constexpr int kTiles = kKeys / 8;
    T queries = {sharedAddress(shared)};
    T gradients = {queries.base + T::bytes(kBlock)};
    T stages = {gradients.base + T::bytes(kBlock)};  // two times keys and values
    int head = blockIdx.x % shape.heads, batch = blockIdx.x / shape.heads, kvHead = head / shape.group();
    int first = (gridDim.y - 1 - blockIdx.y) * kBlock;
    long width = shape.width(kDim), outWidth = long(shape.heads) * kDim, token0 = long(batch) * shape.sequence;
    const bf16* rows = t.qkv + token0 * width;
    const int* starts = t.documentStart + token0;
    queries.template copyRows<kBlock, kThreads>(rows + first * width + long(head) * kDim, width, shape.sequence - first);
    gradients.template copyRows<kBlock, kThreads>(t.dout + (token0 + first) * outWidth + long(head) * kDim, outWidth, shape.sequence - first);
    int own = starts[min(first + int(threadIdx.x % kBlock), shape.sequence - 1)];
    int2 range = blockRange(own, own);
    int last = min(first + kBlock, shape.sequence) - 1;
    int firstKey = range.x / kKeys * kKeys;
    int steps = (last - firstKey) / kKeys + 1;
    auto stage = [&](int step) {
        int key = firstKey + step * kKeys;
        T k = {stages.base + (step & 1) * 2 * T::bytes(kKeys)};
        T v = {k.base + T::bytes(kKeys)};
        k.template copyRows<kKeys, kThreads>(rows + key * width + shape.keyColumn(kvHead, kDim), width, shape.sequence - key);
        v.template copyRows<kKeys, kThreads>(rows + key * width + shape.valueColumn(kvHead, kDim), width, shape.sequence - key);
        commitCopies();
    };
    int lane = threadIdx.x % kWarp, g = lane / 4, c = lane % 4 * 2, warpRow = threadIdx.x / kWarp * 16;
    float lse[2], delta[2];
    int start[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        int row = first + warpRow + g + h * 8;
        bool exists = row < shape.sequence;
        long at = (long(batch) * shape.heads + head) * shape.sequence + row;
        lse[h] = exists ? t.logSumExp[at] * kLog2E : INFINITY;
        delta[h] = exists ? t.delta[at] : 0.f;
        start[h] = exists ? starts[row] : 0x7fffffff;
    }
    float dq[kDim / 8][4] = {};
    float factor = shape.scale * kLog2E;
    stage(0);
    for (int step = 0; step < steps; ++step) {
        awaitCopies<0>();
        __syncthreads();
        if (step + 1 < steps) {
            stage(step + 1);
        }
        int key = firstKey + step * kKeys;
        T k = {stages.base + (step & 1) * 2 * T::bytes(kKeys)};
        T v = {k.base + T::bytes(kKeys)};
        float p[kTiles][4] = {}, dp[kTiles][4] = {};
        multiplyRows<kDim, kTiles>(p, queries, warpRow, k);
        multiplyRows<kDim, kTiles>(dp, gradients, warpRow, v);
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int h = i / 2;
                int row = first + warpRow + g + h * 8;
                int j = key + n * 8 + c + i % 2;
                bool seen = j <= row && j >= start[h];
                float x = seen ? exp2Fast(p[n][i] * factor - lse[h]) : 0.f;
                dp[n][i] = x * (dp[n][i] - delta[h]);
            }
        }
        multiplyColumns<kDim, kTiles>(dq, dp, k);
    }
    storeRows<kDim>(dq, make_float2(shape.scale, shape.scale), shared + warpRow * T::kStride,
                    t.dqkv + (token0 + first + warpRow) * width + long(head) * kDim, width, shape.sequence - first - warpRow);
}

}  // namespace fourfold

using namespace fourfold;

// One warp per (token, head): delta[b, h, s] = dot(dout, out) over dim values, a multiple of 8.
extern "C" __global__ void __launch_bounds__(256) attention_delta(
    const bf16* dout, const bf16* out, float* delta, int tokens, int sequence, int heads, int dim) {
    long item = (long(blockIdx.x) * 256 + threadIdx.x) / 16;  // 16 lanes each
    int lane = threadIdx.x % 16;
    float dot = 0.f;
    bool exists = item < long(tokens) * heads;
    for (int col = lane * kVector; exists && col < dim; col += 16 * kVector) {
        float a[kVector], b[kVector];
        load8(dout + item * dim + col, dim - col, aligned(dout), a);
        load8(out + item * dim + col, dim - col, aligned(out), b);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            dot += a[i] * b[i];
        }
    }
    dot = groupSum(dot, 16);
    if (exists && lane == 0) {
        long token = item / heads;
        int head = static_cast<int>(item - token * heads);
        delta[(token / sequence * heads + head) * sequence + token % sequence] = dot;
    }
}

// D: head dimension; Q: queries per step of the kv kernel; K: keys per step of the q kernel.
#define BACKWARD(D, Q, K)                                                                                          \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                         \
        attention_backward_kv_##D(const bf16* dout, const bf16* qkv, const int* documentStart, const float* logSumExp, \
                                  const float* delta, bf16* dqkv, int sequence, int heads, int kvHeads, float scale) { \
        backwardKv<D, Q>({sequence, heads, kvHeads, scale}, {dout, qkv, documentStart, logSumExp, delta, dqkv});   \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                         \
        attention_backward_q_##D(const bf16* dout, const bf16* qkv, const int* documentStart, const float* logSumExp, \
                                 const float* delta, bf16* dqkv, int sequence, int heads, int kvHeads, float scale) { \
        backwardQ<D, K>({sequence, heads, kvHeads, scale}, {dout, qkv, documentStart, logSumExp, delta, dqkv});    \
    }
BACKWARD(32, 64, 64)
BACKWARD(64, 64, 64)
BACKWARD(96, 32, 64)
BACKWARD(128, 32, 64)
