// Causal, document-masked, grouped-query attention, forward, BF16 on tensor cores (arXiv:2307.08691): one block of four
// warps per 128 queries of one head; a warp owns 32 of them and walks over the keys in tiles of 64 (32 for large heads). Softmax in FP32,
// online; probabilities are rounded to BF16 for the second product. Key tiles before the first document of the queries
// are never read. Copies of the next tile run while the current one is used (K during P V, V during Q K^T).
//
// qkv [B*S, (heads + 2 kvHeads) * d], 16-byte aligned; out [B*S, heads*d]; logSumExp FP32 [B, heads, S], natural log.
// Grid: batch * heads by query tiles, longest first.

#include "ops/attention_tile.cuh"

namespace fourfold {

constexpr int kThreads = 128;
constexpr int kParts = 2;  // 16-row parts per warp
constexpr int kQueries = kThreads / kWarp * 16 * kParts;

// kKeys: keys per step.
template <int kDim, int kKeys>
__device__ __forceinline__ void forward(const Attention& shape, const bf16* qkv, const int* documentStart, bf16* out, float* logSumExp) {
    extern __shared__ __align__(16) bf16 shared[];
    using T = Tile<kDim>;
    constexpr int kTiles = kKeys / 8;
    T queries = {sharedAddress(shared)};
    T keys = {queries.base + T::bytes(kQueries)};
    T values = {keys.base + T::bytes(kKeys)};
    int head = blockIdx.x % shape.heads, batch = blockIdx.x / shape.heads, kvHead = head / shape.group();
    int first = (gridDim.y - 1 - blockIdx.y) * kQueries;
    long width = shape.width(kDim);
    const bf16* rows = qkv + long(batch) * shape.sequence * width;
    const bf16* keyRows = rows + shape.keyColumn(kvHead, kDim);
    const bf16* valueRows = rows + shape.valueColumn(kvHead, kDim);
    const int* starts = documentStart + long(batch) * shape.sequence;

    queries.template copyRows<kQueries, kThreads>(rows + first * width + long(head) * kDim, width, shape.sequence - first);
    int own = starts[min(first + int(threadIdx.x), shape.sequence - 1)];
    int2 range = blockRange(own, own);
    int last = min(first + kQueries, shape.sequence) - 1;
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
    int key = range.x / kKeys * kKeys;
    keys.template copyRows<kKeys, kThreads>(keyRows + key * width, width, shape.sequence - key);
    commitCopies();
    for (; key <= last; key += kKeys) {
        awaitCopies<0>();
        __syncthreads();
        values.template copyRows<kKeys, kThreads>(valueRows + key * width, width, shape.sequence - key);
        commitCopies();
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
        if (key + kKeys <= last) {
            keys.template copyRows<kKeys, kThreads>(keyRows + (key + kKeys) * width, width, shape.sequence - key - kKeys);
            commitCopies();
        }
        bool masked = key < range.y || key + kKeys - 1 > first + warpRow;
#pragma unroll
        for (int m = 0; m < kParts; ++m) {
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                int row = first + warpRow + m * 16 + g + h * 8;
                int start = masked ? starts[min(row, shape.sequence - 1)] : 0;
                float top = largest[m][h];
#pragma unroll
                for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& x = s[m][n][h * 2 + i];
                        int j = key + n * 8 + c + i;
                        if (masked && (j > row || j < start)) {
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
    long outWidth = long(shape.heads) * kDim;
#pragma unroll
    for (int m = 0; m < kParts; ++m) {
        float inverse[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            float total = sum[m][h];
            total += __shfl_xor_sync(kAllLanes, total, 1);
            total += __shfl_xor_sync(kAllLanes, total, 2);
            inverse[h] = 1.f / total;
            int row = first + warpRow + m * 16 + g + h * 8;
            if (lane % 4 == 0 && row < shape.sequence) {
                logSumExp[(long(batch) * shape.heads + head) * shape.sequence + row] = largest[m][h] * shape.scale + logf(total);
            }
        }
        int row = first + warpRow + m * 16;
        // The warp alone reads its rows of the query tile, and is done with them.
        storeRows<kDim>(o[m], make_float2(inverse[0], inverse[1]), shared + (warpRow + m * 16) * T::kStride,
                        out + (long(batch) * shape.sequence + row) * outWidth + long(head) * kDim, outWidth,
                        shape.sequence - row);
    }
}

}  // namespace fourfold

using namespace fourfold;

#define FORWARD(D, K)                                                                                              \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                      \
        attention_forward_##D(const bf16* qkv, const int* documentStart, bf16* out, float* logSumExp,           \
                              int sequence, int heads, int kvHeads, float scale) {                              \
        forward<D, K>({sequence, heads, kvHeads, scale}, qkv, documentStart, out, logSumExp);                      \
    }
FORWARD(32, 64)
FORWARD(64, 64)
FORWARD(96, 32)
FORWARD(128, 32)
