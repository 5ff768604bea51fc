// Causal, document-masked, grouped-query attention, forward, BF16, for Hopper (structure: FlashAttention-3, arXiv:2407.08608).
//
// A persistent grid; a block computes the rows of one tile of queries of one head, 64 by each of its consumer warpgroups, and
// walks over the keys in tiles from the diagonal to the first document of its queries. One thread feeds it through the bulk
// tensor copy engine. A warpgroup starts the scores of the next tile before it adds the current one's values, so softmax runs
// beside the tensor cores, and the warpgroups take turns at them. Softmax in FP32, online; probabilities are rounded to BF16.
//
// Layout: qkv rows [B*S, (H + 2 KV) D], out [B*S, H D], logSumExp FP32 [B, H, S], natural log. Any S. documentStart never
// decreases within a sequence. Alignment: qkv and out 16 bytes.

#include "sm90/attention_tiles.cuh"
#include "sm90/wgmma_attention.cuh"

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

template <class L, class Rows>
__device__ __forceinline__ void produce(const AttentionTiles<Rows>& shape, const ForwardMaps& maps, const int* starts, uint32_t shared,
                                        const ForwardBarriers<L>& bars, Seen* info) {
    Ring<L::stages> ring;
    uint32_t parity = 0;
    for (int round = 0;; ++round, parity ^= 1) {
        QueryTile tile;
        if (!shape.template queryTile<L::queries>(round, tile)) {
            break;
        }
        const int* own = starts + long(tile.batch) * shape.sequence;
        int last = min(shape.queries.template lastToken<L::queries>(tile.at), shape.sequence - 1);
        Seen seen = {shape.keys.template tileFrom<L::keys>(__ldg(own + tile.at.position)),
                     shape.keys.template tileUntil<L::keys>(last), __ldg(own + last)};
        barrierWait(bars.queryEmpty(), parity ^ 1);
        *info = seen;
        if (seen.first > seen.last) {  // only where the keys are parts
            barrierArrive(bars.queryFull());
            continue;
        }
        barrierExpectBytes(bars.queryFull(), L::queryBytes);
#pragma unroll 1
        for (int box = 0; box < L::boxes; ++box) {
            copyBox3d(shared + box * L::queryBoxBytes, maps.queries, bars.queryFull(), tile.head * L::dim + box * 64, tile.at.row,
                      tile.batch * shape.queries.count() + tile.at.chunk);
        }
        int column = shape.keyColumn(tile.head / shape.group(), L::dim);
#pragma unroll 1
        for (int n = seen.last; n >= seen.first; --n, ring.next()) {
            TilePlace at = shape.keys.template place<L::keys>(n);
            int keyBatch = tile.batch * shape.keys.count() + at.chunk;
            barrierWait(bars.keyEmpty(ring.stage), ring.parity ^ 1);
            barrierExpectBytes(bars.keyFull(ring.stage), L::keyBytes);
#pragma unroll 1
            for (int box = 0; box < L::boxes; ++box) {
                copyBox3d(shared + L::k + ring.stage * L::keyBytes + box * L::keyBoxBytes, maps.keys, bars.keyFull(ring.stage),
                          column + box * 64, at.row, keyBatch);
            }
            barrierWait(bars.valueEmpty(ring.stage), ring.parity ^ 1);
            barrierExpectBytes(bars.valueFull(ring.stage), L::keyBytes);
#pragma unroll 1
            for (int box = 0; box < L::boxes; ++box) {
                copyBox3d(shared + L::v + ring.stage * L::keyBytes + box * L::keyBoxBytes, maps.keys, bars.valueFull(ring.stage),
                          column + shape.kvHeads * L::dim + box * 64, at.row, keyBatch);
            }
        }
    }
}

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

template <class L, bool kMerging, class Rows>
__device__ __forceinline__ void consume(
    const AttentionTiles<Rows>& shape, const ForwardMaps& maps, const int* starts, float* logSumExp, char* base,
    const ForwardBarriers<L>& bars, const volatile Seen* info, int consumer) {
    uint32_t shared = sharedAddress(base);
    int thread = threadIdx.x % 128;
    float factor = shape.scale * kLog2E;
    uint32_t queries = shared + consumer * 64 * 128;
    int turn = 1 + consumer, nextTurn = 1 + (consumer + 1) % L::consumers;
    if (consumer == L::consumers - 1) {
        namedBarrierArrive(1, 256);
    }
    Ring<L::stages> ring;  // of keys; values are one tile behind
    uint32_t parity = 0;
    for (int round = 0;; ++round, parity ^= 1) {
        QueryTile tile;
        if (!shape.template queryTile<L::queries>(round, tile)) {
            break;
        }
        int first = tile.at.position + consumer * 64;
        int local = thread / 32 * 16 + thread % 32 / 4;
        int row = first + local;
        barrierWait(bars.queryFull(), parity);
        int n = info->last, firstTile = info->first, lastStart = info->start;
        if (kMerging && firstTile > n) {
            namedBarrier(4 + consumer, 128);  // all have read it
            if (thread == 0) {
                barrierArrive(bars.queryEmpty());
            }
            continue;
        }
        const int* own = starts + long(tile.batch) * shape.sequence;
        RowState rows;
        float s[L::keys / 2], o[L::dim / 2], rescale[2];
        uint32_t p[L::keys / 16][4];
        barrierWait(bars.keyFull(ring.stage), ring.parity);
        startScores<L>(s, queries, shared + L::k + ring.stage * L::keyBytes);
        wgmmaWait<0>();
        fenceRegisters(s);
        if (thread == 0) {
            barrierArrive(bars.keyEmpty(ring.stage));
        }
        TilePlace at = shape.keys.template place<L::keys>(n);
        hideKeys(s, at.position, shape.keys.template lastToken<L::keys>(at), row, own, shape.sequence);
        softmax(s, rows, factor, rescale);
        packProbabilities(s, p);
        bool add = false;
        for (--n; n >= firstTile; --n) {
            Ring<L::stages> values = ring;
            ring.next();
            barrierWait(bars.keyFull(ring.stage), ring.parity);
            namedBarrier(turn, 256);
            startScores<L>(s, queries, shared + L::k + ring.stage * L::keyBytes);
            barrierWait(bars.valueFull(values.stage), values.parity);
            startValues<L>(o, p, shared + L::v + values.stage * L::keyBytes, add);
            namedBarrierArrive(nextTurn, 256);
            add = true;
            wgmmaWait<1>();
            fenceRegisters(s);
            if (thread == 0) {
                barrierArrive(bars.keyEmpty(ring.stage));
            }
            at = shape.keys.template place<L::keys>(n);
            int last = shape.keys.template lastToken<L::keys>(at);
            if (at.position + L::keys > first || at.position < lastStart || last < at.position + L::keys - 1) {
                hideKeys(s, at.position, last, row, own, shape.sequence);
            }
            softmax(s, rows, factor, rescale);
            wgmmaWait<0>();
            fenceRegisters(o);
            fenceRegisters(p);
            if (thread == 0) {
                barrierArrive(bars.valueEmpty(values.stage));
            }
            packProbabilities(s, p);
#pragma unroll
            for (int i = 0; i < L::dim / 2; ++i) {
                o[i] *= rescale[i / 2 % 2];
            }
        }
        if (thread == 0) {
            barrierArrive(bars.queryEmpty());
        }
        barrierWait(bars.valueFull(ring.stage), ring.parity);
        startValues<L>(o, p, shared + L::v + ring.stage * L::keyBytes, add);
        wgmmaWait<0>();
        fenceRegisters(o);
        if (thread == 0) {
            barrierArrive(bars.valueEmpty(ring.stage));
        }
        ring.next();
        if constexpr (kMerging) {
            mergeRows<L>(shape, tile, maps.merged, logSumExp, o, rows, tile.at.row + consumer * 64 + local);
        } else {
            storeRows<L>(shape, tile, maps, logSumExp, base + L::out, o, rows, consumer, tile.at.row + consumer * 64 + local);
        }
    }
    if (thread == 0) {
        bulkWait<0>();
    }
}

template <class L, int kProducerRegisters, int kConsumerRegisters, bool kMerging, class Rows>
__device__ __forceinline__ void attentionForward(
    const AttentionTiles<Rows>& shape, const ForwardMaps& maps, const int* starts, float* logSumExp) {
    extern __shared__ char sharedRaw[];
    char* base = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(sharedRaw) + 1023) & ~uintptr_t(1023));
    ForwardBarriers<L> bars = {sharedAddress(base) + L::barriers};
    Seen* info = reinterpret_cast<Seen*>(base + L::info);
    if (threadIdx.x == 0) {
        barrierInit(bars.queryFull(), 1);
        barrierInit(bars.queryEmpty(), L::consumers);
        for (int stage = 0; stage < L::stages; ++stage) {
            barrierInit(bars.keyFull(stage), 1);
            barrierInit(bars.keyEmpty(stage), L::consumers);
            barrierInit(bars.valueFull(stage), 1);
            barrierInit(bars.valueEmpty(stage), L::consumers);
        }
        barrierInitFence();
        prefetchTensorMap(maps.queries);
        prefetchTensorMap(maps.keys);
        if (!kMerging) {
            prefetchTensorMap(maps.out);
        }
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registersDecrease<kProducerRegisters>();
        if (threadIdx.x == 0) {
            produce<L>(shape, maps, starts, sharedAddress(base), bars, info);
        }
    } else {
        registersIncrease<kConsumerRegisters>();
        consume<L, kMerging>(shape, maps, starts, logSumExp, base, bars, info, threadIdx.x / 128 - 1);
    }
}

using Forward64 = ForwardLayout<64, 3, 3>;
using Forward128 = ForwardLayout<128, 2, 2>;

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------
// Grid: any number of blocks, best the number of multiprocessors; block and shared memory as the constants say.
// Tensor maps, 3-D [B, S, width] in boxes of 64 columns, 128-byte swizzle: queries [Q rows], keys [128 rows] of qkv; out [64 rows].
// Those of chunks are [B * chunks, length, width], keys of [.., 2 KV D]; a part merges into FP32 out instead.

using namespace fourfold;

#define FOURFOLD_ATTENTION_FORWARD(D, PRODUCER, CONSUMER)                                                                  \
    extern "C" __constant__ int attention_forward_##D##_shared_bytes = Forward##D::total;                                  \
    extern "C" __constant__ int attention_forward_##D##_threads = Forward##D::threads;                                     \
    extern "C" __constant__ int attention_forward_##D##_queries = Forward##D::queries;                                     \
    extern "C" __global__ void __launch_bounds__(Forward##D::threads, 1) attention_forward_##D##_sm90a(                    \
        const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,                             \
        const __grid_constant__ CUtensorMap out, const int* __restrict__ documentStart, float* __restrict__ logSumExp,     \
        int batch, int sequence, int heads, int kvHeads, int sectionHeads, float scale) {                                  \
        attentionForward<Forward##D, PRODUCER, CONSUMER, false, WholeRows>(                                                \
            {batch, sequence, heads, kvHeads, sectionHeads, scale, {sequence}, {sequence}},                                \
            {&queries, &keys, &out, nullptr}, documentStart, logSumExp);                                                   \
    }                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(Forward##D::threads, 1) attention_forward_chunks_##D##_sm90a(             \
        const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,                             \
        const __grid_constant__ CUtensorMap out, const int* __restrict__ documentStart, float* __restrict__ logSumExp,     \
        const __grid_constant__ TokenChunks queryChunks, const __grid_constant__ TokenChunks keyChunks, int batch,         \
        int sequence, int heads, int kvHeads, int sectionHeads, float scale) {                                             \
        attentionForward<Forward##D, PRODUCER, CONSUMER, false, ChunkRows>(                                                \
            {batch, sequence, heads, kvHeads, sectionHeads, scale, {queryChunks, queryChunks.length},                      \
             {keyChunks, keyChunks.length}},                                                                               \
            {&queries, &keys, &out, nullptr}, documentStart, logSumExp);                                                   \
    }                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(Forward##D::threads, 1) attention_forward_part_##D##_sm90a(               \
        const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys, float* __restrict__ out,    \
        const int* __restrict__ documentStart, float* __restrict__ logSumExp,                                              \
        const __grid_constant__ TokenChunks queryChunks, const __grid_constant__ TokenChunks keyChunks, int batch,         \
        int sequence, int heads, int kvHeads, int sectionHeads, float scale) {                                             \
        attentionForward<Forward##D, PRODUCER, CONSUMER, true, ChunkRows>(                                                 \
            {batch, sequence, heads, kvHeads, sectionHeads, scale, {queryChunks, queryChunks.length},                      \
             {keyChunks, keyChunks.length}},                                                                               \
            {&queries, &keys, nullptr, out}, documentStart, logSumExp);                                                    \
    }

FOURFOLD_ATTENTION_FORWARD(64, 32, 160)
FOURFOLD_ATTENTION_FORWARD(128, 40, 232)
