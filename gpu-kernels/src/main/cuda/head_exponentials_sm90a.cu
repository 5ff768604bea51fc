// Exponentials of the output head's logits, for Hopper: with h [T, K] and w [V, K] BF16, FP32 accumulation and FP32 softmax,
//
//   e[t, v]       = exp(z[t, v] - base[t]),   z = h w^T                       stored as BF16 (null: not at all)
//   sums[c, t]    = sum of e[t, v] over the 256 columns of column tile c      FP32, before rounding
//
// so that logits never reach memory: what the loss needs are the sums, and the gradient of the logits is e times a factor per
// token (see head_softmax.cu). base is one number per token near or above the row's maximum less 55; +infinity gives zeros.
//
// Structure: as grouped_gemm_bf16_sm90a.cu, a persistent grid of clusters of two blocks, a tile of 128 x 256 each, one above
// the other, sharing the columns of B. The exponentials of a tile take long, so the tensor cores must not wait for them: a
// warpgroup finishes the first half of its columns, begins the next tile's first half on the stages that lie ready, and
// finishes the second half beside those products.
//
// Alignment: base pointers 16 bytes; K and V multiples of 8.

#include "sm90/grouped_output.cuh"
#include "sm90/grouped_tiles.cuh"
#include "sm90/wgmma.cuh"
#include "sm90/wgmma_attention.cuh"

namespace fourfold {

using HeadLayout = Layout<64, 4, false>;
constexpr uint32_t kHalfBytes = 128 * 64 * 2;  // from the first to the second 128 columns of a stage of w
constexpr float kLog2e = 1.44269504088896340736f;

#ifndef FOURFOLD_HEAD_LEAD
#define FOURFOLD_HEAD_LEAD 3
#endif
constexpr int kLead = FOURFOLD_HEAD_LEAD;  // stages on which the next tile's first half runs ahead

__device__ __forceinline__ float exp2Approximate(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Tiles of one block: pairs of row tiles, in bands that walk the columns together so that h stays in the L2.
class HeadTiles {
public:
    __device__ HeadTiles(int rows, int cols, int rank)
        : pairs_((rows + 2 * kTileRows - 1) / (2 * kTileRows)),
          colTiles_((cols + kTileCols - 1) / kTileCols),
          rank_(rank),
          index_(blockIdx.x / 2) {}

    __device__ bool next(int& row, int& col) {
        if (index_ >= pairs_ * colTiles_) {
            return false;
        }
        int band = index_ / (kBandPairs * colTiles_);
        int inBand = index_ - band * kBandPairs * colTiles_;
        int bandPairs = min(kBandPairs, pairs_ - band * kBandPairs);
        int colTile = inBand / bandPairs;
        row = ((band * kBandPairs + inBand - colTile * bandPairs) * 2 + rank_) * kTileRows;
        col = colTile * kTileCols;
        index_ += gridDim.x / 2;
        return true;
    }

private:
    int pairs_, colTiles_, rank_, index_;
};

// One thread's part of a tile that is being finished: its two rows, eight apart.
struct Finished {
    int row, col;      // of the warpgroup's corner
    float base[2];     // in powers of two
    float sum[2];
};

template <int kHalf>
__device__ __forceinline__ void finishHalf(
    const float (&d)[64], Finished& tile, int rows, int cols, __nv_bfloat16* e, int thread) {
    int lane = thread & 31;
    int quad = lane & 3;
    int row = tile.row + (thread >> 5) * 16 + (lane >> 2);
    int colsLeft = cols - tile.col;
#pragma unroll
    for (int j = 0; j < 4; ++j) {  // 32 columns at a time
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint32_t v[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                float x = exp2Approximate(fmaf(d[j * 16 + i * 4 + half * 2], kLog2e, -tile.base[half]));
                float y = exp2Approximate(fmaf(d[j * 16 + i * 4 + half * 2 + 1], kLog2e, -tile.base[half]));
                if (kHalf * 128 + j * 32 + i * 8 < colsLeft) {
                    tile.sum[half] += x + y;
                }
                v[i] = packBf16(x, y);
            }
            if (e != nullptr) {
                transposeQuad(v, lane);
                int r = row + half * 8;
                int col = kHalf * 128 + j * 32 + quad * 8;
                if (r < rows && col < colsLeft) {
                    *reinterpret_cast<uint4*>(e + long(r) * cols + tile.col + col) = make_uint4(v[0], v[1], v[2], v[3]);
                }
            }
        }
    }
}

__device__ __forceinline__ void writeSums(const Finished& tile, int rows, float* sums, int thread) {
    int lane = thread & 31;
    int row = tile.row + (thread >> 5) * 16 + (lane >> 2);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float s = tile.sum[half];
        s += __shfl_xor_sync(0xffffffffu, s, 1);
        s += __shfl_xor_sync(0xffffffffu, s, 2);
        if ((lane & 3) == 0 && row + half * 8 < rows) {
            sums[long(tile.col / kTileCols) * rows + row + half * 8] = s;
        }
    }
}

__device__ __forceinline__ void produce(
    const CUtensorMap* mapH, const CUtensorMap* mapW, uint32_t baseAddr, uint32_t full, uint32_t empty, int rows, int cols,
    int depth, uint32_t rank) {
    using L = HeadLayout;
    HeadTiles tiles(rows, cols, rank);
    Place<L::stages> at;
    int row, col;
    while (tiles.next(row, col)) {
        for (int k = 0; k < depth; k += L::depth) {
            barrierWait(empty + at.stage * 8, at.parity ^ 1);
            uint32_t bar = full + at.stage * 8;
            uint32_t a = baseAddr + at.stage * L::stageBytes;
            barrierExpectBytes(bar, L::stageBytes);
            copyBox(a, mapH, bar, k, row);
            copyBox(a + kBoxBytes<L::depth>, mapH, bar, k, row + 64);
            uint32_t half = rank * kHalfBytes;
            copyBoxMulticast(a + L::bytesA + half, mapW, bar, k, col + int(rank) * 128, 3);
            at.advance();
        }
    }
}

// d (+)= one stage's products of 64 rows of h and 128 columns. fresh: the tile's first.
__device__ __forceinline__ void multiplyStage(float (&d)[64], uint32_t a, uint32_t b, bool fresh) {
#pragma unroll
    for (int s = 0; s < HeadLayout::depth / 16; ++s) {
        wgmmaShared<false, false>(d, rowsDescriptor(a + s * 32), rowsDescriptor(b + s * 32), !fresh || s > 0);
    }
}

// The same of all 256 columns, the halves by turns so that both read a step of h while it is at hand.
__device__ __forceinline__ void multiplyStage(float (&low)[64], float (&high)[64], uint32_t a, uint32_t b, bool fresh) {
#pragma unroll
    for (int s = 0; s < HeadLayout::depth / 16; ++s) {
        uint64_t rows = rowsDescriptor(a + s * 32);
        wgmmaShared<false, false>(low, rows, rowsDescriptor(b + s * 32), !fresh || s > 0);
        wgmmaShared<false, false>(high, rows, rowsDescriptor(b + kHalfBytes + s * 32), !fresh || s > 0);
    }
}

__device__ __forceinline__ void consume(
    uint32_t baseAddr, uint32_t full, uint32_t empty, int rows, int cols, int depth, const float* base, __nv_bfloat16* e,
    float* sums, uint32_t rank) {
    using L = HeadLayout;
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    HeadTiles tiles(rows, cols, rank);
    Place<L::stages> at;
    Finished tile;
    float low[64], high[64];
    auto release = [&](int stage) {
        if (thread < 2) {
            barrierArriveRemote(empty + stage * 8, thread);
        }
    };
    auto stageA = [&](const Place<L::stages>& place) {
        return baseAddr + place.stage * L::stageBytes + consumer * kBoxBytes<L::depth>;
    };
    auto stageB = [&](const Place<L::stages>& place) { return baseAddr + place.stage * L::stageBytes + L::bytesA; };
    auto begin = [&](int row, int col) {
        tile.row = row + consumer * 64;
        tile.col = col;
        int mine = tile.row + thread / 32 * 16 + (thread & 31) / 4;
        tile.base[0] = mine < rows ? __ldg(base + mine) * kLog2e : 0.f;
        tile.base[1] = mine + 8 < rows ? __ldg(base + mine + 8) * kLog2e : 0.f;
        tile.sum[0] = tile.sum[1] = 0.f;
    };
    // Stages k0 and on of a tile, all columns at a time; the stage before them is still being read.
    auto multiplyRest = [&](int k0, int previous) {
        for (int k = k0; k < depth; k += L::depth) {
            barrierWait(full + at.stage * 8, at.parity);
            wgmmaFence();
            multiplyStage(low, high, stageA(at), stageB(at), k == 0);
            wgmmaCommit();
            wgmmaWait<1>();
            if (previous >= 0) {
                release(previous);
            }
            previous = at.stage;
            at.advance();
        }
        wgmmaWait<0>();
        release(previous);
        fenceRegisters(low);
        fenceRegisters(high);
    };
    int row, col;
    if (!tiles.next(row, col)) {
        return;
    }
    begin(row, col);
    multiplyRest(0, -1);
    finishHalf<0>(low, tile, rows, cols, e, thread);
    while (tiles.next(row, col)) {
        Place<L::stages> ahead = at;
#pragma unroll
        for (int i = 0; i < kLead; ++i) {
            barrierWait(full + ahead.stage * 8, ahead.parity);
            wgmmaFence();
            multiplyStage(low, stageA(ahead), stageB(ahead), i == 0);
            wgmmaCommit();
            ahead.advance();
        }
        finishHalf<1>(high, tile, rows, cols, e, thread);
        writeSums(tile, rows, sums, thread);
        begin(row, col);
        int previous = -1;
#pragma unroll
        for (int i = 0; i < kLead; ++i) {
            wgmmaFence();
            multiplyStage(high, stageA(at), stageB(at) + kHalfBytes, i == 0);
            wgmmaCommit();
            if (i > 0) {
                wgmmaWait<1>();
                release(previous);
            }
            previous = at.stage;
            at.advance();
        }
        multiplyRest(kLead * L::depth, previous);
        finishHalf<0>(low, tile, rows, cols, e, thread);
    }
    finishHalf<1>(high, tile, rows, cols, e, thread);
    writeSums(tile, rows, sums, thread);
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------
// Grid: any even number of blocks, best the number of multiprocessors; block 384. Tensor maps, 128-byte swizzle: h in boxes
// of [64 rows x 64], w in boxes of [128 rows x 64].

extern "C" __constant__ int head_exponentials_shared_bytes = fourfold::HeadLayout::total;

extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1) head_exponentials_sm90a(
    const __grid_constant__ CUtensorMap mapH, const __grid_constant__ CUtensorMap mapW, int rows, int cols, int depth,
    const float* __restrict__ base, __nv_bfloat16* e, float* sums) {
    using namespace fourfold;
    using L = HeadLayout;
    extern __shared__ char sharedRaw[];
    char* shared = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(sharedRaw) + 1023) & ~uintptr_t(1023));
    uint32_t baseAddr = sharedAddress(shared);
    uint32_t full = baseAddr + L::barriers;
    uint32_t empty = full + L::stages * 8;
    uint32_t rank = clusterRank();
    if (threadIdx.x == 0) {
        for (int s = 0; s < L::stages; ++s) {
            barrierInit(full + s * 8, 1);
            barrierInit(empty + s * 8, 4);  // two warpgroups of two blocks
        }
        barrierInitFence();
        prefetchTensorMap(&mapH);
        prefetchTensorMap(&mapW);
    }
    clusterBarrier();
    if (threadIdx.x < 128) {
        registersDecrease<40>();
        if (threadIdx.x == 0) {
            produce(&mapH, &mapW, baseAddr, full, empty, rows, cols, depth, rank);
        }
    } else {
        registersIncrease<232>();
        consume(baseAddr, full, empty, rows, cols, depth, base, e, sums, rank);
    }
    clusterBarrier();  // a block must not leave while the other can still signal it
}
