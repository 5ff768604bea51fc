// Backward of causal, document-masked, grouped-query attention, BF16, for Hopper (FlashAttention-3, arXiv:2407.08608, with
// the sums over queries' heads kept in registers and the sums over keys in a fixed order).
//
// A persistent grid; a block holds one tile of 128 keys and values, 64 by each of two warpgroups, and walks over the queries
// of all heads that share them:   S^T = K Q^T,  P^T = exp(S^T - lse),  dP^T = V dO^T,  dS^T = P^T (dP^T - delta),
// dV += P^T dO,  dK += dS^T Q,  dQ = dS K. The scores of the next step start before the current step's dK.
//
// Blocks of different keys add their dQ to one FP32 buffer through the copy engine. Float sums depend on their order, so a
// counter per tile of queries lets them add in ascending order of their keys: results are equal to the bit from run to run.
// Tiles start in that order too (longest first), which makes waits short and rare.
//
// Three kernels: prepare (delta = sum dO O, rows padded, counters), the products, and the conversion of dQ to BF16.
// Layout: qkv, dqkv rows [B*S, (H + 2 KV) D]; out, dout [B*S, H D]; logSumExp FP32 [B, H, S]. T: tiles of queries of a
// sequence, the last of each chunk padded. documentStart never decreases within a sequence. Alignment: 16 bytes.
//
// Context parallelism: queries are chunks of the sequences, and so may keys be, which have tensors of their own
// [B*K, 2 KV D]. "chunks" writes BF16 gradients, "part" adds to FP32 ones.

#include "sm90/attention_backward.cuh"

namespace fourfold {

struct BackwardMaps {
    const CUtensorMap* queries;
    const CUtensorMap* keys;
    const CUtensorMap* dout;
    const CUtensorMap* dqkv;
    const CUtensorMap* dkv;
};

// Gradients of keys where the copy engine does not write them: zeros of those that no query sees, and sums of parts.
struct KeyGradients {
    bf16* written;
    float* added;
};

struct BackwardRows {
    const int* start;   // [B, S]
    const float* rows;  // [B, H, T][3 queries + 4]: lse times log2 e, infinite beyond the last; delta; document start as int;
                        // and once the place of the first in the sequence, as int
    float* dq;          // [B, H, T][queries * D], in the order of accumulator registers
    int* added;         // [B, H, T]: how many tiles of keys have added theirs
    int* taken;         // how many tiles of keys blocks have begun
};

// What a block does in a round; two of them in shared memory, in turn. batch is negative when nothing is left. keyRow: in its
// chunk, tensorBatch: that chunk; key, lastKey: places in the sequence.
struct Work {
    int batch, kvHead, number, firstTile, endTile, tensorBatch, keyRow, key, lastKey, unused[3];
};

// Byte offsets in it.
constexpr int kBatch = 0, kKvHead = 4, kFirstTile = 12, kEndTile = 16, kTensorBatch = 20, kKeyRow = 24, kKey = 28, kLastKey = 32;

// Tiles of queries [first, end) that see any of a tile of keys.
template <class L, class Rows>
__device__ __forceinline__ int2 queryRange(const AttentionTiles<Rows>& shape, const int* start, int key, int lastKey) {
    int first = shape.queries.template tileFrom<L::queries>(key);
    int low = first, high = shape.queries.template tiles<L::queries>();  // the first tile of later documents is among them
    while (low < high) {
        int middle = (low + high) / 2;
        if (__ldg(start + shape.queries.template place<L::queries>(middle).position) <= lastKey) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return make_int2(first, low);
}

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

// Adds every dQ that the warpgroups leave in shared memory, when its turn has come. Two threads, adder 0 and 1, take them in
// turn, so that one waits for its sums to arrive in memory while the other copies.
template <class L, class Rows>
__device__ __forceinline__ void addQueryGradients(const AttentionTiles<Rows>& shape, const BackwardRows& rows, uint32_t shared,
                                                  const BackwardBarriers<L>& bars, const volatile Work* work, int adder) {
    int tiles = shape.queries.template tiles<L::queries>();
    int step = 0;
    for (int round = 0;; ++round) {
        barrierWait(bars.keysFull(), round & 1);
        const volatile Work& tile = work[round & 1];
        if (tile.batch < 0) {
            break;
        }
        const int* start = rows.start + long(tile.batch) * shape.sequence;
        int group = shape.group();
        int at = (tile.batch * shape.heads + tile.kvHead * group) * tiles;
        int first = tile.firstTile, place = tile.number, m = tile.endTile - 1;
        barrierArrive(bars.keysEmpty());  // has read what the next but one tile will overwrite
#pragma unroll 1
        for (; m >= first; --m) {
            int document = __ldg(start + shape.queries.template place<L::queries>(m).position);
            int before = place - shape.keys.template tileFrom<L::keys>(document);
#pragma unroll 1
            for (int i = 0; i < group; ++i, ++step) {
                if (step % 2 != adder) {
                    continue;
                }
                int* added = rows.added + at + i * tiles + m;
                while (before > 0 && loadAcquire(added) != before) {
                }
                barrierWait(bars.dqFull(adder), step / 2 & 1);
                fenceAsyncProxyAll();
                float* to = rows.dq + long(at + i * tiles + m) * (L::queries * L::dim);
                if (before == 0) {
                    storeBytes(to, shared + L::dq, L::dqBytes);
                } else {
                    addFloats(to, shared + L::dq, L::dqBytes);
                }
                bulkCommit();
                bulkWaitRead<0>();
                barrierArrive(bars.dqEmpty());
                bulkWait<0>();
                fenceAsyncProxyAll();
                addRelease(added, 1);
            }
        }
    }
}

// Begins the copy of a piece of sums of dQ into the ring.
template <class L>
__device__ __forceinline__ void startPiece(const float* from, int piece, int stage, uint32_t shared, const BackwardBarriers<L>& bars) {
    barrierExpectBytes(bars.sumsFull(stage), L::sumBytes);
    copyBytes(shared + L::sums + stage * L::sumBytes, from + piece * (L::sumBytes / 4), L::sumBytes, bars.sumsFull(stage));
}

// Sums of dQ of a tile of queries, times scale, to a box of BF16 rows and from there into dqkv at (x, y, z). One warp.
template <class L>
__device__ __forceinline__ void finishTile(const float* from, const CUtensorMap* dqkv, int x, int y, int z, float scale, uint32_t shared,
                                           const BackwardBarriers<L>& bars, Ring<L::sumStages>& ring) {
    constexpr int kPieces = L::dqBytes / L::sumBytes;
    int lane = fresh(threadIdx.x) % 32;
    if (lane == 0) {
        Ring<L::sumStages> next = ring;
#pragma unroll 1
        for (int piece = 0; piece < L::sumStages; ++piece, next.next()) {
            startPiece<L>(from, piece, next.stage, shared, bars);
        }
    }
#pragma unroll 1
    for (int piece = 0; piece < kPieces; ++piece) {
        if (piece % 8 == 0) {
            if (lane == 0) {
                bulkWaitRead<0>();
            }
            __syncwarp();
        }
        barrierWait(bars.sumsFull(ring.stage), ring.parity);
        uint32_t sums = shared + L::sums + ring.stage * L::sumBytes + lane * 16;
        uint32_t to = shared + L::finished + lane / 4 * 128 + lane % 4 * 4 + ((piece % 8 ^ lane / 4) << 4);
#pragma unroll
        for (int quarter = 0; quarter < 4; ++quarter) {
            float4 sum = loadFour(sums + quarter * 512);
            storeInt(to + quarter * 2048, packBf16(sum.x * scale, sum.y * scale));
            storeInt(to + quarter * 2048 + 1024, packBf16(sum.z * scale, sum.w * scale));
        }
        if (piece % 8 == 7) {
            fenceAsyncProxy();
        }
        __syncwarp();
        if (lane == 0) {
            if (piece + L::sumStages < kPieces) {
                startPiece<L>(from, piece + L::sumStages, ring.stage, shared, bars);
            }
            if (piece % 8 == 7) {
                int half = piece / 8;
                storeBox3d(dqkv, shared + L::finished, x + (L::dim == 128 ? half * 64 : 0), y + (L::queries == 128 ? half * 64 : 0), z);
                bulkCommit();
            }
        }
        ring.next();
    }
}

// Finishes every dQ to which this block's keys are the last to add. One warp.
template <class L, class Rows>
__device__ __forceinline__ void finishQueryGradients(const AttentionTiles<Rows>& shape, const BackwardRows& rows, const CUtensorMap* dqkv,
                                                     uint32_t shared, const BackwardBarriers<L>& bars, const volatile Work* work) {
    Ring<L::sumStages> ring;
    for (int round = 0;; ++round) {
        barrierWait(bars.keysFull(), round & 1);
        const volatile Work& tile = work[round & 1];  // stays until the next round's arrival
        if (tile.batch < 0) {
            break;
        }
        if (fresh(threadIdx.x) % 32 == 0) {
            barrierArrive(bars.keysEmpty());
        }
#pragma unroll 1
        for (int m = tile.endTile - 1; m >= tile.firstTile; --m) {
            TilePlace place = shape.queries.template place<L::queries>(m);
            int last = place.position + min(L::queries, shape.queries.length - place.row) - 1;
            if (shape.keys.template tileUntil<L::keys>(last) != tile.number) {
                continue;
            }
            int document = __ldg(rows.start + tile.batch * fresh(shape.sequence) + place.position);
            int all = tile.number - shape.keys.template tileFrom<L::keys>(document) + 1;
            int group = fresh(shape.heads) / fresh(shape.kvHeads);
#pragma unroll 1
            for (int head = tile.kvHead * group; head < (tile.kvHead + 1) * group; ++head) {
                int at = (tile.batch * fresh(shape.heads) + head) * shape.queries.template tiles<L::queries>() + m;
                while (loadAcquire(rows.added + at) != all) {
                    __nanosleep(100);
                }
                __syncwarp();
                fenceAsyncProxyAll();
                finishTile<L>(rows.dq + long(at) * (L::queries * L::dim), dqkv, head * L::dim, place.row,
                              tile.batch * shape.queries.count() + place.chunk, shape.scale, shared, bars, ring);
            }
        }
    }
    if (threadIdx.x % 32 == 0) {
        bulkWait<0>();
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

using Backward64 = BackwardLayout<64, 128>;
using Backward128 = BackwardLayout<128, 64>;

// Parts, one block per tile of queries and head: adds sums in the order of accumulators, times scale, to rows. A tile to which
// no keys have added is not there, and gets nothing.
template <class L>
__device__ __forceinline__ void addSums(
    const ChunkRows& queries, const float* dq, const int* added, float* dqkv, int heads, int kvHeads, float scale) {
    __shared__ __align__(16) float tile[L::queries][L::dim + 8];
    if (added[blockIdx.y * gridDim.x + blockIdx.x] == 0) {
        return;
    }
    int thread = threadIdx.x % 128, half = threadIdx.x / 128;
    int head = blockIdx.y % heads, batch = blockIdx.y / heads;
    const float4* from = reinterpret_cast<const float4*>(dq) + (long(blockIdx.y) * gridDim.x + blockIdx.x) * 2048 + half * 1024 + thread;
    int row = (L::queries == 128 ? half * 64 : 0) + thread / 32 * 16 + thread % 32 / 4;
    int column = (L::dim == 128 ? half * 64 : 0) + thread % 4 * 2;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float4 x = from[i * 128];
        *reinterpret_cast<float2*>(&tile[row][column + i * 8]) = make_float2(x.x * scale, x.y * scale);
        *reinterpret_cast<float2*>(&tile[row + 8][column + i * 8]) = make_float2(x.z * scale, x.w * scale);
    }
    __syncthreads();
    constexpr int kVectors = L::dim / 4;
    long width = long(heads + 2 * kvHeads) * L::dim;
    TilePlace at = queries.template place<L::queries>(blockIdx.x);
    long first = (long(batch) * queries.count() + at.chunk) * queries.length + at.row;
#pragma unroll
    for (int item = 0; item < L::queries * kVectors; item += 256) {
        int r = (item + threadIdx.x) / kVectors, v = (item + threadIdx.x) % kVectors * 4;
        if (at.row + r < queries.length) {
            float4 x = *reinterpret_cast<const float4*>(&tile[r][v]);
            float4* to = reinterpret_cast<float4*>(dqkv + (first + r) * width + head * L::dim + v);
            float4 y = *to;
            *to = make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
        }
    }
}

template <class Rows>
__device__ __forceinline__ void prepareRows(
    const Rows& rowsOf, const bf16* dout, const bf16* out, const float* logSumExp, const int* documentStart, float* rows, int* added,
    int batch, int sequence, int heads, int dim) {
    int queries = dim == 64 ? Backward64::queries : Backward128::queries;
    int tiles = dim == 64 ? rowsOf.template tiles<Backward64::queries>() : rowsOf.template tiles<Backward128::queries>();
    int perSequence = tiles * queries, shift = dim == 64 ? 2 : 3, lane = threadIdx.x % (1 << shift);
    unsigned item = static_cast<unsigned>((long(blockIdx.x) * 256 + threadIdx.x) >> shift);
    if (item >= unsigned(batch) * perSequence * heads) {
        return;  // whole groups of lanes
    }
    unsigned padded = item / heads;
    int head = item - padded * heads, b = padded / perSequence;
    int within = padded - b * perSequence, m = within / queries, r = within % queries;
    TilePlace at = dim == 64 ? rowsOf.template place<Backward64::queries>(m) : rowsOf.template place<Backward128::queries>(m);
    int perChunk = rowsOf.length, row = at.row + r;
    float dot = 0.f;
    if (row < perChunk) {
        float x[2][kVector], y[2][kVector];
        long token = (long(b) * rowsOf.count() + at.chunk) * perChunk + row;
        long from = (token * heads + head) * dim + lane * kVector;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            loadWide(dout + from + half * dim / 2, x[half]);
            loadWide(out + from + half * dim / 2, y[half]);
        }
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            dot += x[0][i] * y[0][i] + x[1][i] * y[1][i];
        }
    }
    unsigned group = (dim == 64 ? 0xfu : 0xffu) << (threadIdx.x % 32 >> shift << shift);
    for (int step = 1 << shift >> 1; step > 0; step /= 2) {
        dot += __shfl_xor_sync(group, dot, step);
    }
    if (lane == 0) {
        long tile = (long(b) * heads + head) * tiles + m;
        float* to = rows + tile * (3 * queries + 4);
        int place = r / 16 * 16 + r % 8 / 2 * 4 + r / 8 % 2 * 2 + r % 2;  // four columns of a thread side by side
        float sum = INFINITY;  // of a row that is not there; one that saw no keys has no probabilities either
        if (row < perChunk) {
            float logs = logSumExp[((long(b) * heads + head) * rowsOf.count() + at.chunk) * perChunk + row];
            sum = logs == -INFINITY ? INFINITY : logs * kLog2E;
        }
        to[place] = sum;
        to[queries + place] = dot;
        to[2 * queries + r] = __int_as_float(documentStart[long(b) * sequence + at.position - at.row + min(row, perChunk - 1)]);
        if (r == 0) {
            to[3 * queries] = __int_as_float(at.position);
            added[tile + 1] = 0;
        }
        if (item == 0) {
            added[0] = 0;
        }
    }
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------

using namespace fourfold;

// Four (D 64) or eight (D 128) lanes for each head of each padded row, less than 2^32 of those; grid: any that covers them;
// block 256.
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
