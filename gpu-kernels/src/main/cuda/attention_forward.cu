// Causal, document-masked, grouped-query attention, forward, BF16 on tensor cores (arXiv:2307.08691): one block of four
// warps per 128 queries of one head; a warp owns 32 of them and walks over the keys in tiles of 64 (32 for large heads). Softmax in FP32,
// online; probabilities are rounded to BF16 for the second product. Key tiles before the first document of the queries
// are never read. Copies of the next tile run while the current one is used (K during P V, V during Q K^T).
//
// qkv [B*S, (heads + 2 kvHeads) * d], 16-byte aligned; out [B*S, heads*d]; logSumExp FP32 [B, heads, S], natural log.
// Grid: batch * heads by query tiles, longest first.
//
// Queries and keys may be chunks of the sequences (context parallelism), keys and values then in a tensor of their own; "part"
// is of some of all keys and merges into FP32 out (section 3.1.1). Tiles do not cross chunks.

#include "ops/attention_tile.cuh"

namespace fourfold {

constexpr int kThreads = 128;
constexpr int kParts = 2;  // 16-row parts per warp
constexpr int kQueries = kThreads / kWarp * 16 * kParts;

// kKeys: keys per step.
template <int kDim, int kKeys, class O>
__device__ __forceinline__ void forward(
    const Attention& shape, const ChunkRows& queryRows, const ChunkRows& keyRows, const bf16* qkv, const KeyValues<const bf16>& from,
    const int* documentStart, O* out, float* logSumExp) {
    extern __shared__ __align__(16) bf16 shared[];
    using T = Tile<kDim>;
    constexpr int kTiles = kKeys / 8;
    T queries = {sharedAddress(shared)};
    T keys = {queries.base + T::bytes(kQueries)};
    T values = {keys.base + T::bytes(kKeys)};
    int head = blockIdx.x % shape.heads, batch = blockIdx.x / shape.heads, kvHead = head / shape.group();
    TilePlace tile = queryRows.template place<kQueries>(gridDim.y - 1 - blockIdx.y);
    int first = tile.position, count = min(kQueries, queryRows.length - tile.row), last = first + count - 1;
    long width = shape.width(kDim);
    int firstRow = rowOf(queryRows, batch, tile);
    const int* starts = documentStart + long(batch) * shape.sequence;

    queries.template copyRows<kQueries, kThreads>(qkv + firstRow * width + long(head) * kDim, width, count);
    int own = starts[min(first + int(threadIdx.x), last)];
    int2 range = blockRange(own, own);
    int n = keyRows.template tileFrom<kKeys>(range.x), lastTile = keyRows.template tileUntil<kKeys>(last);
    if (n > lastTile) {
        awaitCopies<0>();
        return;  // only parts: none of the keys is seen
    }
    TilePlace at = keyRows.template place<kKeys>(n);
    auto keyRow = [&] { return from.at(rowOf(keyRows, batch, at), kvHead, kDim); };
    int warpRow = threadIdx.x / kWarp * 16 * kParts;
    int lane = threadIdx.x % kWarp, g = lane / 4, c = lane % 4 * 2;
    float largest[kParts][2], sum[kParts][2];
    float o[kParts][kDim / 8][4] = {};
#pragma unroll
    for (int m = 0; m < kParts; ++m) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            largest[m][h] = -INFINITY;
            sum[m][h] = 0.f;
        }
    }
    float factor = shape.scale * kLog2E;
    keys.template copyRows<kKeys, kThreads>(keyRow(), from.width, keyRows.length - at.row);
    commitCopies();
    for (; n <= lastTile; ++n) {
        awaitCopies<0>();
        __syncthreads();
        values.template copyRows<kKeys, kThreads>(keyRow() + from.valuesOn(kDim), from.width, keyRows.length - at.row);
        commitCopies();
        int key = at.position, lastKey = keyRows.template lastToken<kKeys>(at);
        float s[kParts][kTiles][4] = {};
#pragma unroll
        for (int k = 0; k < kDim; k += 16) {
            uint32_t x[kParts][4];
#pragma unroll
            for (int m = 0; m < kParts; ++m) {
                queries.loadA(warpRow + m * 16, k, x[m]);
            }
#pragma unroll
            for (int n = 0; n < kTiles; n += 2) {
                uint32_t y[4];
                keys.loadRows(n * 8, k, y);
#pragma unroll
                for (int m = 0; m < kParts; ++m) {
                    multiplyAdd(s[m][n], x[m], y[0], y[1]);
                    multiplyAdd(s[m][n + 1], x[m], y[2], y[3]);
                }
            }
        }
        awaitCopies<0>();
        __syncthreads();
        if (n < lastTile) {
            at = keyRows.template place<kKeys>(n + 1);
            keys.template copyRows<kKeys, kThreads>(keyRow(), from.width, keyRows.length - at.row);
            commitCopies();
        }
        bool masked = key < range.y || key + kKeys - 1 > min(lastKey, first + warpRow);
#pragma unroll
        for (int m = 0; m < kParts; ++m) {
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                int row = first + warpRow + m * 16 + g + h * 8;
                int start = masked ? starts[min(row, last)] : 0, end = min(row, lastKey);
                float top = largest[m][h];
#pragma unroll
                for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& x = s[m][n][h * 2 + i];
                        int j = key + n * 8 + c + i;
                        if (masked && (j > end || j < start)) {
                            x = -INFINITY;
                        }
                        top = fmaxf(top, x);
                    }
                }
                top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
                top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
                float base = top == -INFINITY ? 0.f : top * factor;
                float shrink = exp2Fast(largest[m][h] * factor - base);
                largest[m][h] = top;
                float total = 0.f;
#pragma unroll
                for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& x = s[m][n][h * 2 + i];
                        x = exp2Fast(x * factor - base);
                        total += x;
                    }
                }
                sum[m][h] = sum[m][h] * shrink + total;
#pragma unroll
                for (int n = 0; n < kDim / 8; ++n) {
                    o[m][n][h * 2] *= shrink;
                    o[m][n][h * 2 + 1] *= shrink;
                }
            }
        }
#pragma unroll
        for (int k = 0; k < kTiles; k += 2) {
            uint32_t x[kParts][4];
#pragma unroll
            for (int m = 0; m < kParts; ++m) {
                x[m][0] = packBf16(s[m][k][0], s[m][k][1]);
                x[m][1] = packBf16(s[m][k][2], s[m][k][3]);
                x[m][2] = packBf16(s[m][k + 1][0], s[m][k + 1][1]);
                x[m][3] = packBf16(s[m][k + 1][2], s[m][k + 1][3]);
            }
#pragma unroll
            for (int n = 0; n < kDim / 8; n += 2) {
                uint32_t y[4];
                values.loadColumns(k * 8, n * 8, y);
#pragma unroll
                for (int m = 0; m < kParts; ++m) {
                    multiplyAdd(o[m][n], x[m], y[0], y[1]);
                    multiplyAdd(o[m][n + 1], x[m], y[2], y[3]);
                }
            }
        }
    }
    // Once more what was known at the beginning, rather than kept in registers since.
    tile = queryRows.template place<kQueries>(gridDim.y - 1 - fresh(blockIdx.y));
    firstRow = rowOf(queryRows, batch, tile);
    count = min(kQueries, queryRows.length - tile.row);
    long outWidth = long(shape.heads) * kDim, perHead = long(queryRows.count()) * queryRows.length;
    float* sums = logSumExp + (long(batch) * shape.heads + head) * perHead + long(tile.chunk) * queryRows.length + tile.row;
#pragma unroll
    for (int m = 0; m < kParts; ++m) {
        int row = warpRow + m * 16;
        O* to = out + (firstRow + row) * outWidth + long(head) * kDim;
        float inverse[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            float total = sum[m][h];
            total += __shfl_xor_sync(kAllLanes, total, 1);
            total += __shfl_xor_sync(kAllLanes, total, 2);
            inverse[h] = 1.f / total;
            int at = row + g + h * 8;
            float own = largest[m][h] * shape.scale + logf(total);
            if constexpr (sizeof(O) == 4) {
                bool seen = at < count && total > 0.f;
                float before = seen ? sums[at] : 0.f;
                __syncwarp();  // four lanes have read what one writes
                if (seen) {
                    float top = fmaxf(before, own);
                    float both = top + logf(expf(before - top) + expf(own - top));
                    float weight = expf(before - both), ownWeight = expf(own - both) * inverse[h];
#pragma unroll
                    for (int n = 0; n < kDim / 8; ++n) {
                        float2* pair = reinterpret_cast<float2*>(to + (g + h * 8) * outWidth + n * 8 + c);
                        float2 x = *pair;
                        *pair = make_float2(weight * x.x + ownWeight * o[m][n][h * 2], weight * x.y + ownWeight * o[m][n][h * 2 + 1]);
                    }
                    own = both;
                }
                if (seen && lane % 4 == 0) {
                    sums[at] = own;
                }
            } else if (lane % 4 == 0 && at < count) {
                sums[at] = own;
            }
        }
        if constexpr (sizeof(O) == 2) {
            // The warp alone reads its rows of the query tile, and is done with them.
            storeRows<kDim>(o[m], make_float2(inverse[0], inverse[1]), shared + row * T::kStride, to, outWidth, count - row);
        }
    }
}

}  // namespace fourfold

using namespace fourfold;

#define FORWARD(D, K, PART, O)                                                                                           \
    extern "C" __global__ void __launch_bounds__(kThreads, 2) attention_forward_##PART##D(                                  \
        const bf16* qkv, const bf16* keyValues, const int* documentStart, O* out, float* logSumExp,                      \
        const __grid_constant__ TokenChunks queries, const __grid_constant__ TokenChunks keys, int keyWidth,             \
        int keyColumn, int sequence, int heads, int kvHeads, float scale) {                                              \
        forward<D, K>({sequence, heads, kvHeads, scale}, {queries, queries.length}, {keys, keys.length}, qkv,            \
                      {keyValues, keyWidth, keyColumn, kvHeads}, documentStart, out, logSumExp);                         \
    }
FORWARD(32, 64, , bf16)
FORWARD(64, 64, , bf16)
FORWARD(96, 32, , bf16)
FORWARD(128, 32, , bf16)
FORWARD(32, 64, part_, float)
FORWARD(64, 64, part_, float)
FORWARD(96, 32, part_, float)  // 128 would need more registers than there are
