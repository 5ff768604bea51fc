// Exponentials of the output head's logits, for Hopper: with h [T, K] and w [V, K] BF16, FP32 accumulation and FP32 softmax,
//
//   e[t, v]       = exp(z[t, v] - base[t]),   z = h w^T                       stored as BF16 (or not at all)
//   sums[c, t]    = sum of e[t, v] over the 256 columns of column tile c      FP32, before rounding
//
// so that logits never reach memory: what the loss needs are the sums, and the gradient of the logits is e times a factor per
// token (see head_softmax.cu). base is one number per token, at least its largest logit less 55; +infinity gives zeros.
//
// Structure: as grouped_gemm_bf16_sm90a.cu, a persistent grid of clusters of two blocks, a tile of 128 x 256 each, one above
// the other, sharing the columns of B. Beginning the next tile's products beside the exponentials of the last one's second half
// was no faster: at this rate the product seems limited by the power that the device may draw.
//
// Alignment: base pointers 16 bytes; K and V multiples of 8.

#include "sm90/grouped_output.cuh"
#include "sm90/grouped_tiles.cuh"
#include "sm90/wgmma.cuh"

namespace fourfold {

using HeadLayout = Layout<64, 4, true>;
constexpr float kLog2e = 1.44269504088896340736f;

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

// Exponentials of a warpgroup's 64 x 256 logits to memory, and their sums by row. row, col: the warpgroup's corner; base: of
// this thread's two rows, in powers of two.
__device__ __forceinline__ void finishTile(
    const float (&d)[128], int row, int col, int rows, int cols, const float (&base)[2], const CUtensorMap* mapE, bool store,
    char* staging, int barrier, float* sums, int thread) {
    int lane = thread & 31;
    int quad = lane & 3;
    int mine = row + (thread >> 5) * 16 + (lane >> 2);
    float sum[2] = {0.f, 0.f};
    auto pair = [&](int i, int half) {
        float x = exp2Approximate(fmaf(d[i * 4 + half * 2], kLog2e, -base[half]));
        float y = exp2Approximate(fmaf(d[i * 4 + half * 2 + 1], kLog2e, -base[half]));
        if (col + i * 8 < cols) {
            sum[half] += x + y;
        }
        return packBf16(x, y);
    };
    if (store) {
        storeBf16Boxes(mapE, staging, col, row, thread, barrier, pair);
    } else {
#pragma unroll
        for (int i = 0; i < kTileCols / 8; ++i) {
            pair(i, 0);
            pair(i, 1);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float s = sum[half];
        s += __shfl_xor_sync(0xffffffffu, s, 1);
        s += __shfl_xor_sync(0xffffffffu, s, 2);
        if (quad == 0 && mine + half * 8 < rows) {
            sums[long(col / kTileCols) * rows + mine + half * 8] = s;
        }
    }
}

// A place in the ring of stages.
struct Place {
    int stage = 0;
    uint32_t parity = 0;
    __device__ __forceinline__ void advance() {
        if (++stage == HeadLayout::stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

__device__ __forceinline__ void produce(
    const CUtensorMap* mapH, const CUtensorMap* mapW, uint32_t baseAddr, uint32_t full, uint32_t empty, int rows, int cols,
    int depth, uint32_t rank) {
    using L = HeadLayout;
    HeadTiles tiles(rows, cols, rank);
    Place at;
    int row, col;
    while (tiles.next(row, col)) {
        for (int k = 0; k < depth; k += L::depth) {
            barrierWait(empty + at.stage * 8, at.parity ^ 1);
            uint32_t bar = full + at.stage * 8;
            uint32_t a = baseAddr + at.stage * L::stageBytes;
            barrierExpectBytes(bar, L::stageBytes);
            copyBox(a, mapH, bar, k, row);
            copyBox(a + kBoxBytes<L::depth>, mapH, bar, k, row + 64);
            uint32_t half = rank * 2 * kBoxBytes<L::depth>;
            copyBoxMulticast(a + L::bytesA + half, mapW, bar, k, col + int(rank) * 128, 3);
            at.advance();
        }
    }
}

__device__ __forceinline__ void consume(
    const CUtensorMap* mapE, bool store, char* shared, uint32_t full, uint32_t empty, int rows, int cols, int depth,
    const float* base, float* sums, uint32_t rank) {
    using L = HeadLayout;
    uint32_t baseAddr = sharedAddress(shared);
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    HeadTiles tiles(rows, cols, rank);
    Place at;
    int row, col;
    float d[128];
    while (tiles.next(row, col)) {
        row += consumer * 64;
        int mine = row + thread / 32 * 16 + (thread & 31) / 4;
        float shift[2] = {
            mine < rows ? __ldg(base + mine) * kLog2e : 0.f, mine + 8 < rows ? __ldg(base + mine + 8) * kLog2e : 0.f};
        int previous = -1;
        for (int k = 0; k < depth; k += L::depth) {
            barrierWait(full + at.stage * 8, at.parity);
            uint32_t a = baseAddr + at.stage * L::stageBytes + consumer * kBoxBytes<L::depth>;
            uint32_t b = baseAddr + at.stage * L::stageBytes + L::bytesA;
            wgmmaFence();
#pragma unroll
            for (int i = 0; i < L::depth / 16; ++i) {
                wgmma64x256x16<false, false>(
                    d, operandDescriptor<false, L::depth>(a + i * kDepthStepBytes<false>),
                    operandDescriptor<false, L::depth>(b + i * kDepthStepBytes<false>), k > 0 || i > 0);
            }
            wgmmaCommit();
            if (previous >= 0) {
                wgmmaWait<1>();
                if (thread < 2) {
                    barrierArriveRemote(empty + previous * 8, thread);
                }
            }
            previous = at.stage;
            at.advance();
        }
        wgmmaWait<0>();
        if (thread < 2) {
            barrierArriveRemote(empty + previous * 8, thread);
        }
        char* staging = shared + L::staging + consumer * kStagingBuffers * kStagingBytes;
        finishTile(d, row, col, rows, cols, shift, mapE, store, staging, 2 + consumer, sums, thread);
    }
    if (thread == 0) {
        bulkWait<0>();
    }
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------
// Grid: any even number of blocks, best the number of multiprocessors; block 384. Tensor maps, 128-byte swizzle: h in boxes
// of [64 rows x 64], w in boxes of [128 rows x 64], e in boxes of [64 rows x 64]; store 0: e is not written, mapE unused.

extern "C" __constant__ int head_exponentials_shared_bytes = fourfold::HeadLayout::total;

extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1) head_exponentials_sm90a(
    const __grid_constant__ CUtensorMap mapH, const __grid_constant__ CUtensorMap mapW, const __grid_constant__ CUtensorMap mapE,
    int store, int rows, int cols, int depth, const float* __restrict__ base, float* sums) {
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
        consume(&mapE, store != 0, shared, full, empty, rows, cols, depth, base, sums, rank);
    }
    clusterBarrier();  // a block must not leave while the other can still signal it
}
