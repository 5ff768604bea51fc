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
//
// Queries and keys may be chunks of the sequences, keys and values then in a tensor of their own; "part" is of some of all keys
// and adds to FP32 gradients. Tiles do not cross chunks.

#include "ops/attention_tile.cuh"

namespace fourfold {

constexpr int kThreads = 128;
constexpr int kBlock = 64;  // keys of a kv block, queries of a q block

template <class G>
struct Tensors {
    const bf16 *dout, *qkv;
    KeyValues<const bf16> keyValues;
    const int* documentStart;
    const float *logSumExp, *delta;
    G* dqkv;
    KeyValues<G> dkeyValues;
};

// Stores 16 accumulator rows, or adds them.
template <int kDim, class G>
__device__ __forceinline__ void putRows(const float (&c)[kDim / 8][4], float factor, bf16* scratch, G* to, long stride, int limit) {
    if constexpr (sizeof(G) == 4) {
        addRows<kDim>(c, factor, to, stride, limit);
    } else {
        storeRows<kDim>(c, make_float2(factor, factor), scratch, to, stride, limit);
    }
}

// kQueries: queries per step.
template <int kDim, int kQueries, class G>
__device__ __forceinline__ void backwardKv(
    const Attention& shape, const ChunkRows& queryRows, const ChunkRows& keyRows, const Tensors<G>& t) {
    extern __shared__ __align__(16) bf16 shared[];
    using T = Tile<kDim>;
    constexpr int kTiles = kQueries / 8;
    T keys = {sharedAddress(shared)};
    T values = {keys.base + T::bytes(kBlock)};
    T stages = {values.base + T::bytes(kBlock)};  // two times queries and gradients
    __shared__ float rowLse[2][kQueries], rowDelta[2][kQueries];
    __shared__ int rowStart[2][kQueries];
    int kvHead = blockIdx.x % shape.kvHeads, batch = blockIdx.x / shape.kvHeads;
    TilePlace own = keyRows.template place<kBlock>(blockIdx.y);
    int firstKey = own.position, lastKey = keyRows.template lastToken<kBlock>(own), count = lastKey - firstKey + 1;
    long width = shape.width(kDim), outWidth = long(shape.heads) * kDim;
    int keyRow = rowOf(keyRows, batch, own);
    const int* starts = t.documentStart + long(batch) * shape.sequence;

    const bf16* from = t.keyValues.at(keyRow, kvHead, kDim);
    keys.template copyRows<kBlock, kThreads>(from, t.keyValues.width, count);
    values.template copyRows<kBlock, kThreads>(from + t.keyValues.valuesOn(kDim), t.keyValues.width, count);
    // Tiles of queries from the first at or after these keys to the last whose first document began by the last of them.
    int firstTile = queryRows.template tileFrom<kQueries>(firstKey), lastTile = firstTile - 1;
    for (int i = firstTile + threadIdx.x; i < queryRows.template tiles<kQueries>(); i += kThreads) {
        lastTile = starts[queryRows.template place<kQueries>(i).position] <= lastKey ? i : lastTile;
    }
    lastTile = blockRange(0, lastTile).y;
    int perHead = lastTile - firstTile + 1;
    int steps = perHead * shape.group();

    auto stage = [&](int step) {
        int buffer = step & 1;
        int head = kvHead * shape.group() + step / perHead;
        TilePlace tile = queryRows.template place<kQueries>(firstTile + step % perHead);
        long row = rowOf(queryRows, batch, tile);
        int left = queryRows.length - tile.row;
        T q = {stages.base + buffer * 2 * T::bytes(kQueries)};
        T d = {q.base + T::bytes(kQueries)};
        q.template copyRows<kQueries, kThreads>(t.qkv + row * width + long(head) * kDim, width, left);
        d.template copyRows<kQueries, kThreads>(t.dout + row * outWidth + long(head) * kDim, outWidth, left);
        if (int(threadIdx.x) < kQueries) {
            bool exists = int(threadIdx.x) < left;
            int perHead = queryRows.count() * queryRows.length;
            long at = (long(batch) * shape.heads + head) * perHead + tile.chunk * queryRows.length + tile.row + threadIdx.x;
            rowLse[buffer][threadIdx.x] = exists ? t.logSumExp[at] * kLog2E : INFINITY;
            rowDelta[buffer][threadIdx.x] = exists ? t.delta[at] : 0.f;
            rowStart[buffer][threadIdx.x] = exists ? starts[tile.position + threadIdx.x] : 0x7fffffff;
        }
        commitCopies();
    };

    float dk[kDim / 8][4] = {}, dv[kDim / 8][4] = {};
    int lane = threadIdx.x % kWarp, g = lane / 4, c = lane % 4 * 2, warpRow = threadIdx.x / kWarp * 16;
    float factor = shape.scale * kLog2E;
    if (steps > 0) {
        stage(0);
    } else {
        commitCopies();
        awaitCopies<0>();
        __syncthreads();
    }
    for (int step = 0; step < steps; ++step) {
        awaitCopies<0>();
        __syncthreads();
        if (step + 1 < steps) {
            stage(step + 1);
        }
        int buffer = step & 1;
        int query = queryRows.template place<kQueries>(firstTile + step % perHead).position;
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
                    bool seen = key <= min(query + column, lastKey) && key >= start;
                    float x = seen ? exp2Fast(p[n][h * 2 + i] * factor - lse) : 0.f;
                    p[n][h * 2 + i] = x;
                    dp[n][h * 2 + i] = x * (dp[n][h * 2 + i] - delta);
                }
            }
        }
        multiplyColumns<kDim, kTiles>(dv, p, d);
        multiplyColumns<kDim, kTiles>(dk, dp, q);
    }
    G* to = t.dkeyValues.at(keyRow + warpRow, kvHead, kDim);
    bf16* scratch = shared + warpRow * T::kStride;  // this warp alone reads these key rows
    if (sizeof(G) == 4 && steps == 0) {
        return;  // nothing to add
    }
    putRows<kDim>(dk, shape.scale, scratch, to, t.dkeyValues.width, count - warpRow);
    putRows<kDim>(dv, 1.f, scratch, to + t.dkeyValues.valuesOn(kDim), t.dkeyValues.width, count - warpRow);
}

// kKeys: keys per step.
template <int kDim, int kKeys, class G>
__device__ __forceinline__ void backwardQ(
    const Attention& shape, const ChunkRows& queryRows, const ChunkRows& keyRows, const Tensors<G>& t) {
    extern __shared__ __align__(16) bf16 shared[];
    using T = Tile<kDim>;
    constexpr int kTiles = kKeys / 8;
    T queries = {sharedAddress(shared)};
    T gradients = {queries.base + T::bytes(kBlock)};
    T stages = {gradients.base + T::bytes(kBlock)};  // two times keys and values
    int head = blockIdx.x % shape.heads, batch = blockIdx.x / shape.heads, kvHead = head / shape.group();
    TilePlace tile = queryRows.template place<kBlock>(gridDim.y - 1 - blockIdx.y);
    int first = tile.position, count = min(kBlock, queryRows.length - tile.row), last = first + count - 1;
    long width = shape.width(kDim), outWidth = long(shape.heads) * kDim, firstRow = rowOf(queryRows, batch, tile);
    const int* starts = t.documentStart + long(batch) * shape.sequence;
    queries.template copyRows<kBlock, kThreads>(t.qkv + firstRow * width + long(head) * kDim, width, count);
    gradients.template copyRows<kBlock, kThreads>(t.dout + firstRow * outWidth + long(head) * kDim, outWidth, count);
    int own = starts[min(first + int(threadIdx.x % kBlock), last)];
    int2 range = blockRange(own, own);
    int firstTile = keyRows.template tileFrom<kKeys>(range.x);
    int steps = keyRows.template tileUntil<kKeys>(last) - firstTile + 1;
    if (steps <= 0) {
        awaitCopies<0>();
        return;  // only parts: none of the keys is seen
    }
    auto stage = [&](int step) {
        TilePlace at = keyRows.template place<kKeys>(firstTile + step);
        const bf16* from = t.keyValues.at(rowOf(keyRows, batch, at), kvHead, kDim);
        T k = {stages.base + (step & 1) * 2 * T::bytes(kKeys)};
        T v = {k.base + T::bytes(kKeys)};
        k.template copyRows<kKeys, kThreads>(from, t.keyValues.width, keyRows.length - at.row);
        v.template copyRows<kKeys, kThreads>(from + t.keyValues.valuesOn(kDim), t.keyValues.width, keyRows.length - at.row);
        commitCopies();
    };
    int lane = threadIdx.x % kWarp, g = lane / 4, c = lane % 4 * 2, warpRow = threadIdx.x / kWarp * 16;
    float lse[2], delta[2];
    int start[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        int row = warpRow + g + h * 8;
        bool exists = row < count;
        long at = ((long(batch) * shape.heads + head) * queryRows.count() + tile.chunk) * queryRows.length + tile.row + row;
        lse[h] = exists ? t.logSumExp[at] * kLog2E : INFINITY;
        delta[h] = exists ? t.delta[at] : 0.f;
        start[h] = exists ? starts[first + row] : 0x7fffffff;
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
        TilePlace at = keyRows.template place<kKeys>(firstTile + step);
        int key = at.position, lastKey = keyRows.template lastToken<kKeys>(at);
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
                bool seen = j <= min(row, lastKey) && j >= start[h];
                float x = seen ? exp2Fast(p[n][i] * factor - lse[h]) : 0.f;
                dp[n][i] = x * (dp[n][i] - delta[h]);
            }
        }
        multiplyColumns<kDim, kTiles>(dq, dp, k);
    }
    putRows<kDim>(dq, shape.scale, shared + warpRow * T::kStride, t.dqkv + (firstRow + warpRow) * width + long(head) * kDim, width,
                  count - warpRow);
}

}  // namespace fourfold

using namespace fourfold;

// 16 lanes per (row, head): delta[b, h, s] = dot(dout, out) over dim values, a multiple of 8; sequence: rows of one.
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

// D: head dimension; Q: queries per step of the kv kernel; K: keys per step of the q kernel; PART, G: name and type of gradients.
#define PARAMETERS(G)                                                                                                       \
    const bf16 *dout, const bf16 *qkv, const bf16 *keyValues, const int *documentStart, const float *logSumExp,              \
        const float *delta, G *dqkv, G *dkeyValues, const __grid_constant__ TokenChunks queries,                             \
        const __grid_constant__ TokenChunks keys, int keyWidth, int keyColumn, int sequence, int heads, int kvHeads, float scale
#define ARGUMENTS(G)                                                                                                        \
    {sequence, heads, kvHeads, scale}, {queries, queries.length}, {keys, keys.length}, Tensors<G> {                         \
        dout, qkv, {keyValues, keyWidth, keyColumn, kvHeads}, documentStart, logSumExp, delta, dqkv,                        \
            {dkeyValues, keyWidth, keyColumn, kvHeads}                                                                      \
    }
#define BACKWARD(D, Q, K, PART, G)                                                                                 \
    extern "C" __global__ void __launch_bounds__(kThreads) attention_backward_kv_##PART##D(PARAMETERS(G)) {        \
        backwardKv<D, Q>(ARGUMENTS(G));                                                                            \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(kThreads, 2) attention_backward_q_##PART##D(PARAMETERS(G)) {         \
        backwardQ<D, K>(ARGUMENTS(G));                                                                             \
    }
BACKWARD(32, 64, 64, , bf16)
BACKWARD(64, 64, 64, , bf16)
BACKWARD(96, 32, 64, , bf16)
BACKWARD(128, 32, 64, , bf16)
BACKWARD(32, 64, 64, part_, float)
BACKWARD(64, 64, 64, part_, float)
BACKWARD(96, 32, 64, part_, float)
