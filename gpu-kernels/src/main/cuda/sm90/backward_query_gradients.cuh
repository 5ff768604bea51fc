// Attention backward: the way of dQ. Threads of the producer's warpgroup add what the warpgroups leave in shared memory to FP32
// sums in memory, in ascending order of keys, and a warp turns finished sums into rows of dqkv; sums of parts a kernel adds.
#pragma once

#include "backward_work.cuh"

namespace fourfold {

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
                storeReleaseShared(shared + L::added + adder * 4, step / 2 + 1);
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
    int begun = 0;  // steps of earlier rounds
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
            int group = fresh(shape.heads) / fresh(shape.kvHeads), step = begun + (tile.endTile - 1 - m) * group;
#pragma unroll 1
            for (int head = tile.kvHead * group; head < (tile.kvHead + 1) * group; ++head, ++step) {
                int at = (tile.batch * fresh(shape.heads) + head) * shape.queries.template tiles<L::queries>() + m;
                while (loadAcquireShared(shared + L::added + (step & 1) * 4) <= step / 2) {
                    __nanosleep(500);
                }
                __syncwarp();
                fenceAsyncProxyAll();
                finishTile<L>(rows.dq + long(at) * (L::queries * L::dim), dqkv, head * L::dim, place.row,
                              tile.batch * shape.queries.count() + place.chunk, shape.scale, shared, bars, ring);
            }
        }
        begun += fresh(shape.heads) / fresh(shape.kvHeads) * (tile.endTile - tile.firstTile);
    }
    if (threadIdx.x % 32 == 0) {
        bulkWait<0>();
    }
}

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

}  // namespace fourfold
