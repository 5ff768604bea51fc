// Backward of causal, document-masked, grouped-query attention, BF16, for Hopper (FlashAttention-3, arXiv:2407.08608, with
// the sums over queries' heads kept in registers and the sums over keys in a fixed order).
//
// A persistent grid; a block holds one tile of 128 keys and values, 64 by each of two warpgroups, and walks over the queries
// of all heads that share them:   S^T = K Q^T,  P^T = exp(S^T - lse),  dP^T = V dO^T,  dS^T = P^T (dP^T - delta),
// dV += P^T dO,  dK += dS^T Q,  dQ = dS K. The dK of a step runs on the tensor cores beside the arithmetic of the next.
//
// Blocks of different keys add their dQ to one FP32 buffer through the copy engine. Float sums depend on their order, so a
// counter per tile of queries lets them add in ascending order of their keys: results are equal to the bit from run to run.
// Tiles start in that order too (longest first), which makes waits short and rare.
//
// Two kernels: prepare (delta = sum dO O, rows padded, counters) and the products, in which a warp turns finished sums of dQ
// into BF16 rows while they are in the L2. Of parts, a third adds them to FP32 rows.
// Layout: qkv, dqkv rows [B*S, (H + 2 KV) D]; out, dout [B*S, H D]; logSumExp FP32 [B, H, S]. T: tiles of queries of a
// sequence, the last of each chunk padded. documentStart never decreases within a sequence. Alignment: 16 bytes.
//
// Context parallelism: queries are chunks of the sequences, and so may keys be, which have tensors of their own
// [B*K, 2 KV D]. "chunks" writes BF16 gradients, "part" adds to FP32 ones.

#include "sm90/backward_prepare.cuh"
#include "sm90/backward_query_gradients.cuh"

namespace fourfold {

template <class L, class Rows>
__device__ __forceinline__ void produce(const AttentionTiles<Rows>& shape, const BackwardMaps& maps, const BackwardRows& rows, uint32_t shared,
                                        const BackwardBarriers<L>& bars, Work* work) {
    Ring<L::stages> ring;
    Ring<L::doutStages> doutRing;
    uint32_t parity = 0;
    int tiles = shape.queries.template tiles<L::queries>();
    KeyTile tile;
    for (int round = 0;; ++round, parity ^= 1) {
        if (!shape.template keyTile<L::keys>(atomicAdd(rows.taken, 1), tile)) {
            barrierWait(bars.keysEmpty(), parity ^ 1);
            work[round & 1].batch = -1;
            barrierArrive(bars.keysFull());
            break;
        }
        TilePlace at = shape.keys.template place<L::keys>(tile.number);
        int keyBatch = tile.batch * shape.keys.count() + at.chunk, lastKey = shape.keys.template lastToken<L::keys>(at);
        int2 range = queryRange<L>(shape, rows.start + long(tile.batch) * shape.sequence, at.position, lastKey);
        barrierWait(bars.keysEmpty(), parity ^ 1);
        work[round & 1] = {tile.batch, tile.kvHead, tile.number, range.x, range.y, keyBatch, at.row, at.position, lastKey};
        barrierExpectBytes(bars.keysFull(), 2 * L::keyBytes);
        int column = shape.keyColumn(tile.kvHead, L::dim);
#pragma unroll 1
        for (int box = 0; box < L::boxes; ++box) {
            copyBox3d(shared + L::k + box * L::keyBoxBytes, maps.keys, bars.keysFull(), column + box * 64, at.row, keyBatch);
            copyBox3d(shared + L::v + box * L::keyBoxBytes, maps.keys, bars.keysFull(), column + shape.kvHeads * L::dim + box * 64,
                      at.row, keyBatch);
        }
        int group = shape.group();
#pragma unroll 1
        for (int m = range.y - 1; m >= range.x; --m) {
            TilePlace queries = shape.queries.template place<L::queries>(m);
            int queryBatch = tile.batch * shape.queries.count() + queries.chunk;
#pragma unroll 1
            for (int i = 0; i < group; ++i, ring.next(), doutRing.next()) {
                int head = tile.kvHead * group + i;
                uint32_t full = bars.queryFull(ring.stage);
                barrierWait(bars.queryEmpty(ring.stage), ring.parity ^ 1);
                barrierExpectBytes(full, L::queryBytes + L::rowBytes);
#pragma unroll 1
                for (int box = 0; box < L::boxes; ++box) {
                    copyBox3d(shared + L::q + ring.stage * L::queryBytes + box * L::queryBoxBytes, maps.queries, full,
                              head * L::dim + box * 64, queries.row, queryBatch);
                }
                int row = (tile.batch * shape.heads + head) * tiles + m;
                copyBytes(shared + L::rows + ring.stage * L::rowBytes, rows.rows + long(row) * L::rowFloats, L::rowBytes, full);
                full = bars.doutFull(doutRing.stage);
                barrierWait(bars.doutEmpty(doutRing.stage), doutRing.parity ^ 1);
                barrierExpectBytes(full, L::queryBytes);
#pragma unroll 1
                for (int box = 0; box < L::boxes; ++box) {
                    copyBox3d(shared + L::dout + doutRing.stage * L::queryBytes + box * L::queryBoxBytes, maps.dout, full,
                              head * L::dim + box * 64, queries.row, queryBatch);
                }
            }
        }
    }
}

// Gradients of keys that no query sees.
template <class L, class Rows>
__device__ __forceinline__ void writeZeros(const AttentionTiles<Rows>& shape, bf16* dkv, uint32_t work, int consumer) {
    constexpr int kVectors = L::dim / kVector;
    int batch = loadInt(work + kTensorBatch), row = loadInt(work + kKeyRow) + consumer * 64;
    long width = 2l * shape.kvHeads * L::dim;
    bf16* to = dkv + (long(batch) * shape.keys.length + row) * width + loadInt(work + kKvHead) * L::dim;
    int count = min(64, shape.keys.length - row) * kVectors;
    for (int item = threadIdx.x % 128; item < count; item += 128) {
        bf16* at = to + item / kVectors * width + item % kVectors * kVector;
        *reinterpret_cast<uint4*>(at) = make_uint4(0, 0, 0, 0);
        *reinterpret_cast<uint4*>(at + shape.kvHeads * L::dim) = make_uint4(0, 0, 0, 0);
    }
}

template <class L, bool kAdding, class Rows>
__device__ __forceinline__ void consume(const AttentionTiles<Rows>& shape, const BackwardMaps& maps, const KeyGradients& gradients,
                                        uint32_t shared, const BackwardBarriers<L>& bars, int consumer) {
    int thread = threadIdx.x % 128;
    float factor = shape.scale * kLog2E;
    Ring<L::stages> ring;
    uint32_t step = 0;  // its bits are the stages and parities of the rings of two
    for (int round = 0;; ++round) {
        barrierWait(bars.keysFull(), round & 1);
        uint32_t work = shared + L::info + (round & 1) * L::workBytes;
        if (loadInt(work + kBatch) < 0) {
            break;
        }
        int left = shape.group() * (loadInt(work + kEndTile) - loadInt(work + kFirstTile));
        if (!Rows::packed && left <= 0) {
            if (!kAdding) {
                writeZeros<L>(shape, gradients.written, work, consumer);
            }
            namedBarrier(2 + consumer, 128);  // all have read what this round's work is
            if (thread == 0) {
                barrierArrive(bars.keysEmpty());
            }
            continue;
        }
        float dk[L::dim / 2], dv[L::dim / 2], s[L::queries / 2];
        barrierWait(bars.queryFull(ring.stage), ring.parity);
        startTransposed<L>(s, shared + L::k + consumer * 64 * 128, shared + L::q + ring.stage * L::queryBytes);
        wgmmaWait<0>();
        fenceRegisters(s);
        int done = 0;  // steps of this round
        do {
            shared = fresh(shared);
            uint32_t dout = shared + L::dout + (step & 1) * L::queryBytes, ds = shared + L::ds + (step & 1) * L::dsBytes;
            uint32_t row = shared + L::rows + ring.stage * L::rowBytes;
            float dp[L::queries / 2];
            uint32_t p[L::queries / 16][4], dsPacked[L::queries / 16][4];
            barrierWait(bars.doutFull(step & 1), step >> 1 & 1);
            startTransposed<L>(dp, shared + L::v + consumer * 64 * 128, dout);
            // The dK of the step before; of the first once for nothing: a product in a branch would make the compiler wait.
            startKeyGradient<L>(dk, shared + L::ds + (step & 1 ^ 1) * L::dsBytes + consumer * 64 * 128,
                                shared + L::q + ring.previous() * L::queryBytes, done > 1);
            probabilities<L>(s, row, factor, loadInt(work + kKey), loadInt(work + kLastKey), consumer);
            wgmmaWait<1>();
            fenceRegisters(dp);
            scoreGradients<L>(s, dp, row + L::queries * 4);
            packRows(s, p);
            packRows(dp, dsPacked);
            startGradient<L>(dv, p, dout, done > 0);
            storeTiles(ds, L::keyBoxBytes, consumer, dsPacked);
            fenceAsyncProxy();
            namedBarrier(1, 256);
            float dq[32];
            startQueryGradient<L>(dq, ds, shared + L::k, consumer);
            wgmmaWait<1>();
            fenceRegisters(dk);
            fenceRegisters(dv);
            fenceRegisters(p);
            if (thread == 0) {
                if (done > 0) {
                    barrierArrive(bars.queryEmpty(ring.previous()));
                }
                barrierArrive(bars.doutEmpty(step & 1));
            }
            // After the last step once more the same, for nothing.
            Ring<L::stages> following = ring;
            if (left > 1) {
                following.next();
            }
            barrierWait(bars.queryFull(following.stage), following.parity);
            startTransposed<L>(s, shared + L::k + consumer * 64 * 128, shared + L::q + following.stage * L::queryBytes);
            wgmmaWait<1>();
            fenceRegisters(dq);
            barrierWait(bars.dqEmpty(), step & 1 ^ 1);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                storeFour(shared + L::dq + (consumer * 1024 + thread + i * 128) * 16, dq[4 * i], dq[4 * i + 1], dq[4 * i + 2], dq[4 * i + 3]);
            }
            fenceAsyncProxy();
            barrierArrive(bars.dqFull(step & 1));
            ++step;
            ++done;
            wgmmaWait<0>();
            fenceRegisters(s);
            ring.next();
        } while (--left > 0);
        startKeyGradient<L>(dk, shared + L::ds + (step & 1 ^ 1) * L::dsBytes + consumer * 64 * 128,
                            shared + L::q + ring.previous() * L::queryBytes, done > 1);
        wgmmaWait<0>();
        fenceRegisters(dk);
        if (thread == 0) {
            barrierArrive(bars.queryEmpty(ring.previous()));
        }
        namedBarrier(1, 256);  // both warpgroups are done with the keys
        int column = shape.keyColumn(loadInt(work + kKvHead), L::dim), valuesOn = shape.kvHeads * L::dim;
        int batch = loadInt(work + kTensorBatch), row = loadInt(work + kKeyRow);
        if constexpr (kAdding) {
            float* to = gradients.added + (long(batch) * shape.keys.length + row) * 2 * valuesOn + column;
            addKeyGradient<L>(dk, shape.scale, to, 2 * valuesOn, shape.keys.length - row, consumer);
            addKeyGradient<L>(dv, 1.f, to + valuesOn, 2 * valuesOn, shape.keys.length - row, consumer);
        } else {
            storeKeyGradient<L>(dk, shape.scale, shared + L::k, maps.dkv, column, row, batch, consumer);
            storeKeyGradient<L>(dv, 1.f, shared + L::v, maps.dkv, column + valuesOn, row, batch, consumer);
        }
        if (kAdding) {
            namedBarrier(2 + consumer, 128);
        }
        if (thread == 0) {
            bulkWaitRead<0>();
            barrierArrive(bars.keysEmpty());
        }
    }
    if (thread == 0) {
        bulkWait<0>();
    }
}

template <class L, bool kAdding, class Rows>
__device__ __forceinline__ void attentionBackward(const AttentionTiles<Rows>& shape, const BackwardMaps& maps, const BackwardRows& rows,
                                                  const KeyGradients& gradients) {
    extern __shared__ char sharedRaw[];
    char* base = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(sharedRaw) + 1023) & ~uintptr_t(1023));
    BackwardBarriers<L> bars = {sharedAddress(base) + L::barriers};
    Work* work = reinterpret_cast<Work*>(base + L::info);
    if (threadIdx.x == 0) {
        barrierInit(bars.keysFull(), 1);
        barrierInit(bars.keysEmpty(), kAdding ? 4 : 5);  // two warpgroups, two adders, the finisher
        barrierInit(bars.dqFull(0), 256);
        barrierInit(bars.dqFull(1), 256);
        barrierInit(bars.dqEmpty(), 1);
        for (int stage = 0; stage < L::stages; ++stage) {
            barrierInit(bars.queryFull(stage), 1);
            barrierInit(bars.queryEmpty(stage), 2);
        }
        for (int stage = 0; stage < L::doutStages; ++stage) {
            barrierInit(bars.doutFull(stage), 1);
            barrierInit(bars.doutEmpty(stage), 2);
        }
        for (int stage = 0; stage < L::sumStages; ++stage) {
            barrierInit(bars.sumsFull(stage), 1);
        }
        storeReleaseShared(sharedAddress(base) + L::added, 0);
        storeReleaseShared(sharedAddress(base) + L::added + 4, 0);
        barrierInitFence();
        prefetchTensorMap(maps.queries);
        prefetchTensorMap(maps.keys);
        prefetchTensorMap(maps.dout);
        if (!kAdding) {
            prefetchTensorMap(maps.dqkv);
            prefetchTensorMap(maps.dkv);
        }
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registersDecrease<40>();
        if (threadIdx.x == 0) {
            produce<L>(shape, maps, rows, sharedAddress(base), bars, work);
        } else if (threadIdx.x % 32 == 0 && threadIdx.x < 96) {
            addQueryGradients<L>(shape, rows, sharedAddress(base), bars, work, threadIdx.x / 32 - 1);
        } else if (!kAdding && threadIdx.x >= 96) {
            finishQueryGradients<L>(shape, rows, maps.dqkv, sharedAddress(base), bars, work);
        }
    } else {
        registersIncrease<232>();
        consume<L, kAdding>(shape, maps, gradients, sharedAddress(base), bars, threadIdx.x / 128 - 1);
    }
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------

using namespace fourfold;

// Eight lanes of 8 (D 64) or 16 (D 128) values for each head of each padded row; grid: any that covers them; block 256.
extern "C" __global__ void __launch_bounds__(256) attention_backward_prepare(
    const bf16* __restrict__ dout, const bf16* __restrict__ out, const float* __restrict__ logSumExp,
    const int* __restrict__ documentStart, float* __restrict__ rows, int* __restrict__ added, int batch, int sequence, int heads,
    int dim) {
    prepareRows(WholeRows{sequence}, dout, out, logSumExp, documentStart, rows, added, batch, sequence, heads, dim);
}

extern "C" __global__ void __launch_bounds__(256) attention_backward_prepare_chunks(
    const bf16* __restrict__ dout, const bf16* __restrict__ out, const float* __restrict__ logSumExp,
    const int* __restrict__ documentStart, float* __restrict__ rows, int* __restrict__ added,
    const __grid_constant__ TokenChunks queries, int batch, int sequence, int heads, int dim) {
    prepareRows(ChunkRows{queries, queries.length}, dout, out, logSumExp, documentStart, rows, added, batch, sequence, heads, dim);
}

// Grid: any number of blocks that run at the same time, best the number of multiprocessors; block 384; shared memory as the
// constants say. Tensor maps, 3-D [B, S, width] in boxes of 64 columns, 128-byte swizzle: queries [64 rows for D 128, 128 for
// D 64] and keys [128 rows] of qkv; dout [rows as queries]; dqkv [64 rows]. Those of chunks are [B * chunks, length, width].
#define FOURFOLD_ATTENTION_BACKWARD(D)                                                                                       \
    extern "C" __constant__ int attention_backward_##D##_shared_bytes = Backward##D::total;                                  \
    extern "C" __constant__ int attention_backward_##D##_queries = Backward##D::queries;                                     \
    extern "C" __global__ void __launch_bounds__(384, 1) attention_backward_##D##_sm90a(                                     \
        const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,                               \
        const __grid_constant__ CUtensorMap dout, const __grid_constant__ CUtensorMap dqkv, const int* documentStart,        \
        const float* rows, float* dq, int* added, int batch, int sequence, int heads, int kvHeads, int sectionHeads,         \
        float scale) {                                                                                                       \
        attentionBackward<Backward##D, false, WholeRows>(                                                                    \
            {batch, sequence, heads, kvHeads, sectionHeads, scale, {sequence}, {sequence}},                                  \
            {&queries, &keys, &dout, &dqkv, &dqkv}, {documentStart, rows, dq, added + 1, added}, {nullptr, nullptr});        \
    }                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(384, 1) attention_backward_chunks_##D##_sm90a(                              \
        const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,                               \
        const __grid_constant__ CUtensorMap dout, const __grid_constant__ CUtensorMap dqkv,                                  \
        const __grid_constant__ CUtensorMap dkvMap, bf16* dkv,                                                               \
        const int* documentStart, const float* rows, float* dq, int* added,                                                  \
        const __grid_constant__ TokenChunks queryChunks, const __grid_constant__ TokenChunks keyChunks, int batch,           \
        int sequence, int heads, int kvHeads, int sectionHeads, float scale) {                                               \
        attentionBackward<Backward##D, false, ChunkRows>(                                                                    \
            {batch, sequence, heads, kvHeads, sectionHeads, scale, {queryChunks, queryChunks.length},                        \
             {keyChunks, keyChunks.length}},                                                                                 \
            {&queries, &keys, &dout, &dqkv, &dkvMap}, {documentStart, rows, dq, added + 1, added}, {dkv, nullptr});          \
    }                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(384, 1) attention_backward_part_##D##_sm90a(                                \
        const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,                               \
        const __grid_constant__ CUtensorMap dout, float* dkv, const int* documentStart, const float* rows, float* dq,        \
        int* added, const __grid_constant__ TokenChunks queryChunks, const __grid_constant__ TokenChunks keyChunks,          \
        int batch, int sequence, int heads, int kvHeads, int sectionHeads, float scale) {                                    \
        attentionBackward<Backward##D, true, ChunkRows>(                                                                     \
            {batch, sequence, heads, kvHeads, sectionHeads, scale, {queryChunks, queryChunks.length},                        \
             {keyChunks, keyChunks.length}},                                                                                 \
            {&queries, &keys, &dout, nullptr, nullptr}, {documentStart, rows, dq, added + 1, added}, {nullptr, dkv});        \
    }                                                                                                                        \
    /* Grid (T, B * H), block 256. */                                                                                        \
    extern "C" __global__ void __launch_bounds__(256) attention_backward_add_##D(                                            \
        const float* dq, const int* added, float* dqkv, const __grid_constant__ TokenChunks queries, int heads, int kvHeads, \
        float scale) {                                                                                                       \
        addSums<Backward##D>(ChunkRows{queries, queries.length}, dq, added + 1, dqkv, heads, kvHeads, scale);                \
    }

FOURFOLD_ATTENTION_BACKWARD(64)
FOURFOLD_ATTENTION_BACKWARD(128)
