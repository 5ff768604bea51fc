// Grouped GEMM, BF16 operands, FP32 accumulation, for Hopper.
//
// One group per local expert; where a group's rows begin and end is read from device memory (offsets INT32 [G+1]), so the
// host never waits for the router. Any number of rows per group, zero too. Rows beyond offsets[G] are neither read into a
// result nor written.
//
//   fprop   C[r, n]  = sum_k A[r, k] W_g[n, k]      A [R, K] tokens, W [G, N, K]      rows split, both K-major
//   dgrad   C[r, n]  = sum_k A[r, k] W_g[k, n]      A [R, K] tokens, W [G, K, N]      rows split, W N-major
//   wgrad   C_g[m,n] (+)= sum_r A[r, m] B[r, n]     A [R, M], B [R, N], C [G, M, N]   depth split, both MN-major
//
// scaleA and scaleB [G], either null: factors of each group's product (tensor scales of quantized operands).
//
// Structure: a persistent grid of clusters of two blocks; each block computes tiles of 128 x 256. The L2 cannot feed 132
// blocks that load everything themselves, so the two blocks of a cluster take tiles one above the other and share the 256
// columns of B: each loads half of it and multicasts it (a cluster tile of 256 x 256). The last row tile of a group with an
// odd number of them is done side by side instead (128 x 512), sharing A, so nothing is computed for rows that do not exist.
// In a block one warp feeds a ring of stages through the bulk tensor copy engine, two warpgroups each compute 64 x 256 with
// wgmma. The ring lets the copy engine run ahead into the next tile while the warpgroups write their results.
//
// Alignment: base pointers 16 bytes, row lengths multiples of 8 elements (the copy engine's rule); C rows multiples of 8.

#include "sm90/grouped_output.cuh"
#include "sm90/grouped_tiles.cuh"
#include "sm90/wgmma.cuh"
#include "sm90/wgmma_attention.cuh"

namespace fourfold {

// 32 elements along K per stage and twice the stages were slower everywhere (604 against 671 TFLOP/s at 128 rows of K 1024).
using RowsLayout = Layout<64, 4, false>;
using DepthLayout = Layout<64, 4, true>;

#ifndef FOURFOLD_GROUPED_LEAD
#define FOURFOLD_GROUPED_LEAD 2
#endif
constexpr int kLead = FOURFOLD_GROUPED_LEAD;  // stages on which the next tile's first half of columns runs ahead
constexpr int kHalfCols = 128;
constexpr uint32_t kHalfBytes = 128 * 64 * 2;  // from the first to the second half of a stage's B

// Zeroes the lines from `valid` on of a stage's MN-major boxes: tokens of the next group, or memory nobody wrote.
template <int kDepth>
__device__ __forceinline__ void zeroTail(char* boxes, int boxCount, int valid, int thread, int threads) {
    int lines = kDepth - valid;
    for (int i = thread; i < boxCount * lines * 8; i += threads) {
        int box = i / (lines * 8);
        int rest = i - box * lines * 8;
        *reinterpret_cast<uint4*>(boxes + box * kBoxBytes<kDepth> + (valid + rest / 8) * 128 + (rest % 8) * 16) =
            make_uint4(0, 0, 0, 0);
    }
}

// 128 rows of A: two boxes; when A is shared each block fetches one of them for both.
template <Split kSplit, int kDepth>
__device__ __forceinline__ void loadA(
    uint32_t to, const CUtensorMap* map, uint32_t bar, const Tile& tile, int k, uint32_t rank) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        int x = kSplit == Split::kRows ? k : tile.row + i * 64;
        int y = kSplit == Split::kRows ? tile.row + i * 64 : tile.begin + k;
        if (tile.stacked) {
            copyBox(to + i * kBoxBytes<kDepth>, map, bar, x, y);
        } else if (i == rank) {
            copyBoxMulticast(to + i * kBoxBytes<kDepth>, map, bar, x, y, 3);
        }
    }
}

// 256 columns of B: K-major two boxes of 128 rows, N-major four boxes of 64 columns; half of them each when B is shared.
template <Split kSplit, bool kMnMajor, int kDepth>
__device__ __forceinline__ void loadB(
    uint32_t to, const CUtensorMap* map, uint32_t bar, const Tile& tile, int k, uint32_t rank, int cols, int depth) {
    constexpr int kBoxes = kMnMajor ? 4 : 2;
    constexpr int kBoxCols = kTileCols / kBoxes;
    constexpr uint32_t kBytes = kTileCols * kDepth * 2 / kBoxes;
#pragma unroll
    for (int i = 0; i < kBoxes; ++i) {
        int col = tile.col + i * kBoxCols;
        int x, y;
        if constexpr (kSplit == Split::kDepth) {
            x = col;
            y = tile.begin + k;
        } else if constexpr (kMnMajor) {
            x = col;
            y = tile.group * depth + k;
        } else {
            x = k;
            y = tile.group * cols + col;
        }
        if (!tile.stacked) {
            copyBox(to + i * kBytes, map, bar, x, y);
        } else if (i / (kBoxes / 2) == rank) {
            copyBoxMulticast(to + i * kBytes, map, bar, x, y, 3);
        }
    }
}

// Asks the L2 for this block's tile of C, to which the tile's products will be added.
__device__ __forceinline__ void prefetchC(const CUtensorMap* map, const Tile& tile) {
#pragma unroll 1
    for (int i = 0; i < kTileRows / 64 * (kTileCols / kStagingCols); ++i) {
        prefetchBox3d(map, tile.col + i / 2 * kStagingCols, tile.row + i % 2 * 64, tile.group);
    }
}

template <class L, Split kSplit, bool kMnMajorB, Output kOutput>
__device__ __forceinline__ void produce(
    TileWalk<kSplit>& walk, const CUtensorMap* mapA, const CUtensorMap* mapB, const CUtensorMap* mapC, uint32_t baseAddr,
    uint32_t full, uint32_t empty, uint32_t rank, int cols, int depth) {
    Tile tile;
    Place<L::stages> at;
    while (walk.next(tile)) {
        int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
        if (kOutput == Output::kFp32Accumulate && span > 0) {
            prefetchC(mapC, tile);
        }
        for (int k = 0; k < span; k += L::depth) {
            barrierWait(empty + at.stage * 8, at.parity ^ 1);
            uint32_t bar = full + at.stage * 8;
            uint32_t a = baseAddr + at.stage * L::stageBytes;
            barrierExpectBytes(bar, L::stageBytes);
            loadA<kSplit, L::depth>(a, mapA, bar, tile, k, rank);
            loadB<kSplit, kMnMajorB, L::depth>(a + L::bytesA, mapB, bar, tile, k, rank, cols, depth);
            at.advance();
        }
    }
}

// Where a warpgroup's finished accumulators go.
template <class L, Output kOutput>
struct Destination {
    const CUtensorMap* map;  // FP32
    char* staging;           // FP32: of this warpgroup
    __nv_bfloat16* c;        // BF16
    int cols;
    int consumer;
    int rowTiles;    // FP32: of a group
    float* squares;  // FP32: see groupedGemm

    // d: 128 columns, the first or second half of the tile's.
    __device__ __forceinline__ void store(const float (&d)[64], const Tile& tile, int half, float alpha, int thread) const {
        int row = tile.row + consumer * 64;
        int col = tile.col + half * kHalfCols;
        if constexpr (kOutput == Output::kBf16) {
            storeBf16(d, c + long(row) * cols + col, cols, tile.end - row, cols - col, thread, alpha);
        } else {
            if (kOutput == Output::kFp32 && squares != nullptr && tile.col < cols) {
                long colTiles = (cols + kTileCols - 1) / kTileCols;
                long at = (long(tile.group) * rowTiles + tile.row / kTileRows) * colTiles + tile.col / kTileCols;
                storeSquares(d, squares + (at * 2 + half) * 8 + consumer * 4, thread, alpha);
            }
            storeFp32<kOutput == Output::kFp32Accumulate>(d, map, staging, col, row, tile.group, thread, 2 + consumer, alpha);
        }
    }
};

// One stage's products into one half of the columns.
template <class L, bool kMnMajorA, bool kMnMajorB>
__device__ __forceinline__ void multiplyHalf(float (&d)[64], uint32_t a, uint32_t b, bool fresh) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::depth / 16; ++i) {
        wgmmaShared<kMnMajorA, kMnMajorB>(
            d, operandDescriptor<kMnMajorA, L::depth>(a + i * kDepthStepBytes<kMnMajorA>),
            operandDescriptor<kMnMajorB, L::depth>(b + i * kDepthStepBytes<kMnMajorB>), !fresh || i > 0);
    }
    wgmmaCommit();
}

// The same of all columns, the halves by turns so that both read a step of A while it is at hand.
template <class L, bool kMnMajorA, bool kMnMajorB>
__device__ __forceinline__ void multiplyBoth(float (&low)[64], float (&high)[64], uint32_t a, uint32_t b, bool fresh) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::depth / 16; ++i) {
        uint64_t rows = operandDescriptor<kMnMajorA, L::depth>(a + i * kDepthStepBytes<kMnMajorA>);
        uint32_t step = b + i * kDepthStepBytes<kMnMajorB>;
        wgmmaShared<kMnMajorA, kMnMajorB>(low, rows, operandDescriptor<kMnMajorB, L::depth>(step), !fresh || i > 0);
        wgmmaShared<kMnMajorA, kMnMajorB>(
            high, rows, operandDescriptor<kMnMajorB, L::depth>(step + kHalfBytes), !fresh || i > 0);
    }
    wgmmaCommit();
}

template <class L, Split kSplit, bool kMnMajorA, bool kMnMajorB, Output kOutput>
__device__ __forceinline__ void consume(
    TileWalk<kSplit>& walk, const Destination<L, kOutput>& out, char* base, uint32_t full, uint32_t empty, int depth,
    const float* scaleA, const float* scaleB) {
    int consumer = out.consumer;
    int thread = threadIdx.x % 128;
    uint32_t baseAddr = sharedAddress(base);
    Place<L::stages> at;
    auto stageA = [&](const Place<L::stages>& place) {
        return baseAddr + place.stage * L::stageBytes + consumer * kBoxBytes<L::depth>;
    };
    auto stageB = [&](const Place<L::stages>& place) { return baseAddr + place.stage * L::stageBytes + L::bytesA; };
    auto release = [&](int stage) {
        if (thread < 2) {
            barrierArriveRemote(empty + stage * 8, thread);
        }
    };
    float low[64], high[64];
    // The stages from k on, all columns at a time; stage `previous` is still being read.
    auto multiplyRest = [&](int k, int span, int previous) {
        for (; k < span; k += L::depth) {
            barrierWait(full + at.stage * 8, at.parity);
            if constexpr (kSplit == Split::kDepth) {
                if (span - k < L::depth) {
                    zeroTail<L::depth>(base + at.stage * L::stageBytes, 6, span - k, threadIdx.x - 128, 256);
                    fenceAsyncProxy();
                    namedBarrier(1, 256);
                }
            }
            multiplyBoth<L, kMnMajorA, kMnMajorB>(low, high, stageA(at), stageB(at), k == 0);
            wgmmaWait<1>();
            if (previous >= 0) {
                release(previous);
            }
            previous = at.stage;
            at.advance();
        }
        wgmmaWait<0>();
        if (previous >= 0) {
            release(previous);
        }
        fenceRegisters(low);
        fenceRegisters(high);
    };
    Tile tile, last;
    float alpha = 1.f;
    bool unfinished = false;  // the second half of the last tile's columns is still to be stored
    while (walk.next(tile)) {
        int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
        if (kOutput == Output::kFp32Accumulate && span == 0) {
            continue;
        }
        if (unfinished && span >= kLead * L::depth) {
            Place<L::stages> ahead = at;
#pragma unroll
            for (int i = 0; i < kLead; ++i) {
                barrierWait(full + ahead.stage * 8, ahead.parity);
                multiplyHalf<L, kMnMajorA, kMnMajorB>(low, stageA(ahead), stageB(ahead), i == 0);
                ahead.advance();
            }
            out.store(high, last, 1, alpha, thread);
            int previous = -1;
#pragma unroll
            for (int i = 0; i < kLead; ++i) {
                multiplyHalf<L, kMnMajorA, kMnMajorB>(high, stageA(at), stageB(at) + kHalfBytes, i == 0);
                if (i > 0) {
                    wgmmaWait<1>();
                    release(previous);
                }
                previous = at.stage;
                at.advance();
            }
            multiplyRest(kLead * L::depth, span, previous);
        } else {
            if (unfinished) {
                out.store(high, last, 1, alpha, thread);
            }
            if (kSplit == Split::kDepth && span == 0) {
#pragma unroll
                for (int i = 0; i < 64; ++i) {
                    low[i] = high[i] = 0.f;
                }
            }
            multiplyRest(0, span, -1);
        }
        alpha = (scaleA == nullptr ? 1.f : __ldg(scaleA + tile.group)) * (scaleB == nullptr ? 1.f : __ldg(scaleB + tile.group));
        out.store(low, tile, 0, alpha, thread);
        last = tile;
        unfinished = true;
    }
    if (unfinished) {
        out.store(high, last, 1, alpha, thread);
    }
    if (kOutput != Output::kBf16 && thread == 0) {
        bulkWait<0>();
    }
}

template <class L, Split kSplit, bool kMnMajorA, bool kMnMajorB, Output kOutput>
__device__ __forceinline__ void groupedGemm(
    const CUtensorMap* mapA,
    const CUtensorMap* mapB,
    const CUtensorMap* mapC,  // kDepth only
    const int* offsets,
    int groups,
    int fixedRows,  // kDepth: M; unused for kRows
    int cols,       // N
    int depth,      // kRows: K; unused for kDepth
    const float* scaleA,
    const float* scaleB,
    float* squares,  // kFp32: [G][row tiles][column tiles][halves 2][warps 8] sums of squares; may be null
    __nv_bfloat16* c) {
    extern __shared__ char sharedRaw[];
    char* base = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(sharedRaw) + 1023) & ~uintptr_t(1023));
    uint32_t baseAddr = sharedAddress(base);
    uint32_t full = baseAddr + L::barriers;
    uint32_t empty = full + L::stages * 8;
    int warpgroup = threadIdx.x / 128;
    uint32_t rank = clusterRank();

    if (threadIdx.x == 0) {
        for (int s = 0; s < L::stages; ++s) {
            barrierInit(full + s * 8, 1);
            barrierInit(empty + s * 8, 4);  // two warpgroups of two blocks
        }
        barrierInitFence();
        prefetchTensorMap(mapA);
        prefetchTensorMap(mapB);
    }
    uint16_t* order = nullptr;
    if (kSplit == Split::kDepth && groups <= kMaxOrdered) {
        order = reinterpret_cast<uint16_t*>(base + L::order);
        orderByLength(offsets, groups, order);
        __syncthreads();
    }
    clusterBarrier();

    TileWalk<kSplit> walk(offsets, nullptr, order, groups, fixedRows, cols, rank);
    if (warpgroup == 0) {
        registersDecrease<40>();
        if (threadIdx.x == 0) {
            produce<L, kSplit, kMnMajorB, kOutput>(walk, mapA, mapB, mapC, baseAddr, full, empty, rank, cols, depth);
        }
    } else {
        registersIncrease<232>();
        int consumer = warpgroup - 1;
        Destination<L, kOutput> out{
            mapC, base + L::staging + consumer * kStagingBuffers * kStagingBytes, c, cols, consumer,
            (fixedRows + kTileRows - 1) / kTileRows, squares};
        consume<L, kSplit, kMnMajorA, kMnMajorB, kOutput>(walk, out, base, full, empty, depth, scaleA, scaleB);
    }
    clusterBarrier();  // a block must not leave while the other can still signal it
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------
// Grid: any even number of blocks, best the number of multiprocessors; block 384; shared memory: the layout's total.
// Tensor maps, 128-byte swizzle unless stated: rows A [64 rows x depth], B K-major [128 rows x depth] (64-byte swizzle where
// depth is 32), B N-major [depth x 64]; depth A, B [depth x 64], C FP32 3-D [group][64][32].

extern "C" __constant__ int grouped_gemm_rows_shared_bytes = fourfold::RowsLayout::total;
extern "C" __constant__ int grouped_gemm_depth_shared_bytes = fourfold::DepthLayout::total;

#define FOURFOLD_GROUPED_GEMM_ROWS(name, mnB)                                                                           \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1)                       \
        name(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB,                        \
             const int* __restrict__ offsets, int groups, int cols, int depth, const float* __restrict__ scaleA,         \
             const float* __restrict__ scaleB, __nv_bfloat16* c) {                                                      \
        fourfold::groupedGemm<fourfold::RowsLayout, fourfold::Split::kRows, false, mnB, fourfold::Output::kBf16>(       \
            &mapA, &mapB, nullptr, offsets, groups, 0, cols, depth, scaleA, scaleB, nullptr, c);                                                 \
    }

#define FOURFOLD_GROUPED_GEMM_DEPTH(name, output)                                                                       \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1)                       \
        name(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB,                        \
             const __grid_constant__ CUtensorMap mapC, const int* __restrict__ offsets, int groups, int rows, int cols,  \
             const float* __restrict__ scaleA, const float* __restrict__ scaleB, float* squares) {                      \
        fourfold::groupedGemm<fourfold::DepthLayout, fourfold::Split::kDepth, true, true, fourfold::Output::output>(    \
            &mapA, &mapB, &mapC, offsets, groups, rows, cols, 0, scaleA, scaleB, squares, nullptr);                                              \
    }

FOURFOLD_GROUPED_GEMM_ROWS(grouped_gemm_fprop_bf16_sm90a, false)
FOURFOLD_GROUPED_GEMM_ROWS(grouped_gemm_dgrad_bf16_sm90a, true)
FOURFOLD_GROUPED_GEMM_DEPTH(grouped_gemm_wgrad_fp32_sm90a, kFp32)
FOURFOLD_GROUPED_GEMM_DEPTH(grouped_gemm_wgrad_fp32_accumulate_sm90a, kFp32Accumulate)
