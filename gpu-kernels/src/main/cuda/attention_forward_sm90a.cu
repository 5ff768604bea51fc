// Causal, document-masked, grouped-query attention, forward, BF16, for Hopper (structure: FlashAttention-3, arXiv:2407.08608).
//
// A persistent grid; a block computes the rows of one tile of queries of one head, 64 by each of its consumer warpgroups, and
// walks over the keys in tiles from the diagonal to the first document of its queries. One thread feeds it through the bulk
// tensor copy engine. A warpgroup starts the scores of the next tile before it adds the current one's values, so softmax runs
// beside the tensor cores, and the warpgroups take turns at them. Softmax in FP32, online; probabilities are rounded to BF16.
//
// Layout: qkv rows [B*S, (H + 2 KV) D], out [B*S, H D], logSumExp FP32 [B, H, S], natural log. Any S. documentStart never
// decreases within a sequence. Alignment: qkv and out 16 bytes.

#include "sm90/attention_forward.cuh"

namespace fourfold {

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
