// Pieces of the attention forward (attention_forward_sm90a.cu): how shared memory is divided, the two products, softmax, and what
// becomes of finished rows.
#pragma once

#include "attention_tiles.cuh"
#include "wgmma_attention.cuh"

namespace fourfold {

template <int kHeadDim, int kConsumers, int kStageCount>
struct ForwardLayout {
    static constexpr int dim = kHeadDim;
    static constexpr int consumers = kConsumers;
    static constexpr int queries = 64 * kConsumers;
    static constexpr int keys = 128;
    static constexpr int stages = kStageCount;
    static constexpr int threads = 128 * (kConsumers + 1);
    static constexpr int boxes = kHeadDim / 64;
    static constexpr int queryBoxBytes = queries * 128;
    static constexpr int keyBoxBytes = keys * 128;
    static constexpr int queryBytes = boxes * queryBoxBytes;
    static constexpr int keyBytes = boxes * keyBoxBytes;
    static constexpr int out = queryBytes;
    static constexpr int k = 2 * queryBytes;
    static constexpr int v = k + stages * keyBytes;
    static constexpr int barriers = v + stages * keyBytes;
    static constexpr int info = barriers + (2 + 4 * stages) * 8;
    static constexpr int total = info + 16 + 1024 /* alignment */;
    static_assert(total <= 227 * 1024);
};

// Barriers by byte offset.
template <class L>
struct ForwardBarriers {
    uint32_t base;
    __device__ uint32_t queryFull() const { return base; }
    __device__ uint32_t queryEmpty() const { return base + 8; }
    __device__ uint32_t keyFull(int stage) const { return base + 16 + stage * 8; }
    __device__ uint32_t keyEmpty(int stage) const { return base + 16 + (L::stages + stage) * 8; }
    __device__ uint32_t valueFull(int stage) const { return base + 16 + (2 * L::stages + stage) * 8; }
    __device__ uint32_t valueEmpty(int stage) const { return base + 16 + (3 * L::stages + stage) * 8; }
};

struct ForwardMaps {
    const CUtensorMap* queries;
    const CUtensorMap* keys;
    const CUtensorMap* out;
    float* merged;  // instead of out where parts of the keys merge
};

// What a tile of queries sees: tiles of keys first to last, and the first token of its last query's document.
struct Seen {
    int first, last, start;
};

// Scores of a warpgroup's 64 queries with a tile of keys; the caller waits.
template <class L>
__device__ __forceinline__ void startScores(float (&s)[L::keys / 2], uint32_t queries, uint32_t keys) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::dim / 16; ++i) {
        wgmmaShared<false, false>(s, rowsDescriptor(queries + i / 4 * L::queryBoxBytes + i % 4 * 32),
                                  rowsDescriptor(keys + i / 4 * L::keyBoxBytes + i % 4 * 32), i > 0);
    }
    wgmmaCommit();
}

template <class L>
__device__ __forceinline__ void startValues(float (&o)[L::dim / 2], uint32_t (&p)[L::keys / 16][4], uint32_t values, bool add) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::keys / 16; ++i) {
        wgmmaRegisters<true>(o, p[i], columnsDescriptor(values + i * 2048, L::keyBoxBytes), add || i > 0);
    }
    wgmmaCommit();
}

// Running maximum and sum (this thread's columns only) of the two rows a thread holds.
struct RowState {
    float maximum[2] = {-INFINITY, -INFINITY};
    float sum[2] = {0.f, 0.f};
};

// Turns scores into probabilities relative to the new maximum; rescale: factor of what was summed before.
template <int kCount>
__device__ __forceinline__ void softmax(float (&s)[kCount], RowState& rows, float factor, float (&rescale)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        float top = rows.maximum[h];
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
            top = fmaxf(top, fmaxf(s[i + 2 * h], s[i + 2 * h + 1]));
        }
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        float base = top == -INFINITY ? 0.f : top * factor;  // nothing seen yet
        rescale[h] = exp2Fast(rows.maximum[h] * factor - base);
        rows.maximum[h] = top;
        float sum = 0.f;
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
            s[i + 2 * h] = exp2Fast(fmaf(s[i + 2 * h], factor, -base));
            s[i + 2 * h + 1] = exp2Fast(fmaf(s[i + 2 * h + 1], factor, -base));
            sum += s[i + 2 * h] + s[i + 2 * h + 1];
        }
        rows.sum[h] = rows.sum[h] * rescale[h] + sum;
    }
}

template <int kCount>
__device__ __forceinline__ void packProbabilities(const float (&s)[kCount], uint32_t (&p)[kCount / 8][4]) {
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
        p[i / 4][i % 4] = packBf16(s[2 * i], s[2 * i + 1]);
    }
}

// Hides keys after the query, before its document and after the last. row: place in the sequence of the first of the thread's
// two queries, eight apart.
template <int kCount>
__device__ __forceinline__ void hideKeys(float (&s)[kCount], int key, int last, int row, const int* starts, int sequence) {
    int start[2] = {__ldg(starts + min(row, sequence - 1)), __ldg(starts + min(row + 8, sequence - 1))};
    int column = key + threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
        int h = i / 2 % 2;
        int at = column + i / 4 * 8 + i % 2;
        if (at > min(row + h * 8, last) || at < start[h]) {
            s[i] = -INFINITY;
        }
    }
}

// Sums and maximums of whole rows: what the output divides by, and the log-sum-exp.
struct RowSums {
    float sum[2], logSumExp[2];
};

__device__ __forceinline__ RowSums rowSums(const RowState& rows, float scale) {
    RowSums all;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        float sum = rows.sum[h];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        all.sum[h] = sum + __shfl_xor_sync(0xffffffffu, sum, 2);
        all.logSumExp[h] = rows.maximum[h] * scale + logf(all.sum[h]);
    }
    return all;
}

// Normalizes, rounds and stores a warpgroup's 64 rows through shared memory, and their log-sum-exp. row: of the thread's first
// query in its chunk.
template <class L, class Rows>
__device__ __forceinline__ void storeRows(
    const AttentionTiles<Rows>& shape, const QueryTile& tile, const ForwardMaps& maps, float* logSumExp, char* staging,
    const float (&o)[L::dim / 2], const RowState& rows, int consumer, int row) {
    int thread = threadIdx.x % 128;
    RowSums all = rowSums(rows, shape.scale);
    float inverse[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        inverse[h] = 1.f / all.sum[h];
        if (thread % 4 == 0 && row + 8 * h < shape.queries.length) {
            logSumExp[((long(tile.batch) * shape.heads + tile.head) * shape.queries.count() + tile.at.chunk) * shape.queries.length +
                      row + 8 * h] = all.logSumExp[h];
        }
    }
    uint32_t to = sharedAddress(staging) + consumer * 64 * 128;
    if (thread == 0) {
        bulkWaitRead<0>();  // the previous tile's copy
    }
    namedBarrier(4 + consumer, 128);
    int local = thread / 32 * 16 + thread % 16;
#pragma unroll
    for (int j = 0; j < L::dim / 16; ++j) {
        const float* x = o + j * 8;
        uint32_t chunk = (j % 4 * 2 + thread % 32 / 16) ^ (local % 8);
        storeMatrices(to + j / 4 * L::queryBoxBytes + local * 128 + chunk * 16, packBf16(x[0] * inverse[0], x[1] * inverse[0]),
                      packBf16(x[2] * inverse[1], x[3] * inverse[1]), packBf16(x[4] * inverse[0], x[5] * inverse[0]),
                      packBf16(x[6] * inverse[1], x[7] * inverse[1]));
    }
    fenceAsyncProxy();
    namedBarrier(4 + consumer, 128);
    if (thread == 0) {
#pragma unroll
        for (int box = 0; box < L::boxes; ++box) {
            storeBox3d(maps.out, to + box * L::queryBoxBytes, tile.head * L::dim + box * 64, tile.at.row + consumer * 64,
                       tile.batch * shape.queries.count() + tile.at.chunk);
        }
        bulkCommit();
    }
}

// Merges a thread's two rows into what is there (arXiv:2307.08691 section 3.1.1); rows that saw no key stay as they are.
template <class L, class Rows>
__device__ __forceinline__ void mergeRows(
    const AttentionTiles<Rows>& shape, const QueryTile& tile, float* merged, float* logSumExp, const float (&o)[L::dim / 2],
    const RowState& rows, int row) {
    RowSums all = rowSums(rows, shape.scale);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        bool seen = row + 8 * h < shape.queries.length && all.sum[h] > 0.f;
        long place = long(tile.at.chunk) * shape.queries.length + row + 8 * h;
        long perSequence = long(shape.queries.count()) * shape.queries.length;
        float* kept = logSumExp + (long(tile.batch) * shape.heads + tile.head) * perSequence + place;
        float before = seen ? *kept : 0.f;
        __syncwarp();  // four threads have read what one writes
        if (!seen) {
            continue;
        }
        float top = fmaxf(before, all.logSumExp[h]);
        float both = top + logf(expf(before - top) + expf(all.logSumExp[h] - top));
        float weight = expf(before - both), ownWeight = expf(all.logSumExp[h] - both) / all.sum[h];
        if (threadIdx.x % 4 == 0) {
            *kept = both;
        }
        float* to = merged + ((long(tile.batch) * perSequence + place) * shape.heads + tile.head) * L::dim + threadIdx.x % 4 * 2;
#pragma unroll
        for (int j = 0; j < L::dim / 8; ++j) {
            float2* pair = reinterpret_cast<float2*>(to + j * 8);
            float2 x = *pair;
            *pair = make_float2(weight * x.x + ownWeight * o[j * 4 + 2 * h], weight * x.y + ownWeight * o[j * 4 + 2 * h + 1]);
        }
    }
}

}  // namespace fourfold
