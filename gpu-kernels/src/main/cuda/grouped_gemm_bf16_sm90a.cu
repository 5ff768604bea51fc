// Grouped GEMM, BF16 operands, FP32 accumulation, for Hopper.
//
// One group per local expert; where a group's rows begin and end is read from device memory (offsets INT32 [G+1]), so the
// host never waits for the router. Any number of rows per group, zero too; fprop and dgrad also take a part of each group's rows. Rows beyond offsets[G] are neither read into a
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
// Tiles of rows cost the same and are dealt out in turn; those of depths are taken from a queue, the longest first.
// In a block one warp feeds a ring of stages through the bulk tensor copy engine, two warpgroups each compute 64 x 256 with
// wgmma. The ring lets the copy engine run ahead into the next tile while the warpgroups write their results.
//
// Alignment: base pointers 16 bytes, row lengths multiples of 8 elements (the copy engine's rule); C rows multiples of 8.

#include "sm90/grouped_output.cuh"
#include "sm90/grouped_tiles.cuh"
#include "sm90/tile_queue.cuh"
#include "sm90/wgmma.cuh"

namespace fourfold {

// 32 elements along K per stage and twice the stages were slower everywhere (604 against 671 TFLOP/s at 128 rows of K 1024).
using RowsLayout = Layout<64, 4, true>;
using DepthLayout = Layout<64, 4, true>;

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

template <class L, Split kSplit, bool kMnMajorA, bool kMnMajorB, Output kOutput>
__device__ __forceinline__ void groupedGemm(
    const CUtensorMap* mapA,
    const CUtensorMap* mapB,
    const CUtensorMap* mapC,
    const int* offsets,
    const int* ends,  // offsets + 1, or with kRows where the part of each group's rows ends that is multiplied
    int groups,
    int fixedRows,  // kDepth: M; unused for kRows
    int cols,       // N
    int depth,      // kRows: K; unused for kDepth
    const float* scaleA,
    const float* scaleB,
    float* squares,    // kFp32: [G][row tiles][column tiles][warps 8] sums of squares of the result; may be null
    __nv_bfloat16* c,  // kRows only
    int* counters) {   // kDepth only
    extern __shared__ char sharedRaw[];
    char* base = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(sharedRaw) + 1023) & ~uintptr_t(1023));
    uint32_t baseAddr = sharedAddress(base);
    uint32_t full = baseAddr + L::barriers;
    uint32_t empty = full + L::stages * 8;
    int warpgroup = threadIdx.x / 128;
    uint32_t rank = clusterRank();

    TileQueue queue(baseAddr + L::queue);
    if (threadIdx.x == 0) {
        queue.init();
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

    TileWalk<kSplit> walk(offsets, ends, nullptr, order, groups, fixedRows, cols, rank);
    Tile tile;
    int stage = 0;
    uint32_t parity = 0;

    if (warpgroup == 0) {
        registersDecrease<56>();
        if (threadIdx.x == 0) {
            auto next = [&] {
                if constexpr (kSplit == Split::kRows) {
                    return walk.next(tile);
                } else {
                    bool found = walk.at(rank == 0 ? queue.take(counters) : queue.followAsProducer(), tile);
                    if (!found && rank == 0) {
                        queue.finish(counters);
                    }
                    return found;
                }
            };
            while (next()) {
                int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
                for (int k = 0; k < span; k += L::depth) {
                    barrierWait(empty + stage * 8, parity ^ 1);
                    uint32_t bar = full + stage * 8;
                    uint32_t a = baseAddr + stage * L::stageBytes;
                    barrierExpectBytes(bar, L::stageBytes);
                    loadA<kSplit, L::depth>(a, mapA, bar, tile, k, rank);
                    loadB<kSplit, kMnMajorB, L::depth>(a + L::bytesA, mapB, bar, tile, k, rank, cols, depth);
                    if (++stage == L::stages) {
                        stage = 0;
                        parity ^= 1;
                    }
                }
            }
        }
    } else {
        registersIncrease<224>();
        int consumer = warpgroup - 1;
        int thread = threadIdx.x % 128;
        auto next = [&] {
            if constexpr (kSplit == Split::kRows) {
                return walk.next(tile);
            } else {
                return walk.at(queue.follow(), tile);
            }
        };
        while (next()) {
            float d[128];
#pragma unroll
            for (int i = 0; i < 128; ++i) {
                d[i] = 0.f;
            }
            int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
            int previous = -1;
            if (kSplit == Split::kRows && tile.row + consumer * 64 >= tile.end) {
                // None of these 64 rows exists: the stages pass by, the tensor cores are left to the other warpgroup.
                for (int k = 0; k < span; k += L::depth) {
                    barrierWait(full + stage * 8, parity);
                    if (thread < 2) {
                        barrierArriveRemote(empty + stage * 8, thread);
                    }
                    if (++stage == L::stages) {
                        stage = 0;
                        parity ^= 1;
                    }
                }
                continue;
            }
            for (int k = 0; k < span; k += L::depth) {
                barrierWait(full + stage * 8, parity);
                if constexpr (kSplit == Split::kDepth) {
                    if (span - k < L::depth) {
                        zeroTail<L::depth>(base + stage * L::stageBytes, 6, span - k, threadIdx.x - 128, 256);
                        fenceAsyncProxy();
                        namedBarrier(1, 256);
                    }
                }
                uint32_t a = baseAddr + stage * L::stageBytes + consumer * kBoxBytes<L::depth>;
                uint32_t b = baseAddr + stage * L::stageBytes + L::bytesA;
                wgmmaFence();
#pragma unroll
                for (int i = 0; i < L::depth / 16; ++i) {
                    wgmma64x256x16<kMnMajorA, kMnMajorB>(
                        d,
                        operandDescriptor<kMnMajorA, L::depth>(a + i * kDepthStepBytes<kMnMajorA>),
                        operandDescriptor<kMnMajorB, L::depth>(b + i * kDepthStepBytes<kMnMajorB>),
                        1);
                }
                wgmmaCommit();
                if (previous >= 0) {
                    wgmmaWait<1>();
                    if (thread < 2) {
                        barrierArriveRemote(empty + previous * 8, thread);
                    }
                }
                previous = stage;
                if (++stage == L::stages) {
                    stage = 0;
                    parity ^= 1;
                }
            }
            wgmmaWait<0>();
            if (previous >= 0 && thread < 2) {
                barrierArriveRemote(empty + previous * 8, thread);
            }
            if (scaleA != nullptr || scaleB != nullptr) {
                float alpha = (scaleA == nullptr ? 1.f : __ldg(scaleA + tile.group)) *
                              (scaleB == nullptr ? 1.f : __ldg(scaleB + tile.group));
#pragma unroll
                for (int i = 0; i < 128; ++i) {
                    d[i] *= alpha;
                }
            }
            int row = tile.row + consumer * 64;
            char* staging = base + L::staging + consumer * kStagingBuffers * kStagingBytes;
            if constexpr (kOutput == Output::kBf16) {
                if (tile.end - row >= 64) {
                    storeBf16Boxes(mapC, staging, tile.col, row, thread, 2 + consumer, [&](int i, int half) {
                        return packBf16(d[i * 4 + half * 2], d[i * 4 + half * 2 + 1]);
                    });
                } else {
                    storeBf16(d, c + long(row) * cols + tile.col, cols, tile.end - row, cols - tile.col, thread);
                }
            } else if (kOutput == Output::kFp32 || previous >= 0) {
                if (kOutput == Output::kFp32 && squares != nullptr && tile.col < cols) {
                    int tiles = (fixedRows + kTileRows - 1) / kTileRows;
                    int colTiles = (cols + kTileCols - 1) / kTileCols;
                    long at = (long(tile.group) * tiles + tile.row / kTileRows) * colTiles + tile.col / kTileCols;
                    storeSquares(d, squares + at * 8 + consumer * 4, thread);
                }
                storeFp32<kOutput == Output::kFp32Accumulate>(d, mapC, staging, tile.col, row, tile.group, thread,
                                                              2 + consumer);
            }
        }
        if (thread == 0) {
            bulkWait<0>();
        }
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
             const __grid_constant__ CUtensorMap mapC, const int* __restrict__ offsets, const int* __restrict__ ends,        \
             int groups, int cols, int depth, const float* __restrict__ scaleA,                                         \
             const float* __restrict__ scaleB, __nv_bfloat16* c) {                                                      \
        fourfold::groupedGemm<fourfold::RowsLayout, fourfold::Split::kRows, false, mnB, fourfold::Output::kBf16>(       \
            &mapA, &mapB, &mapC, offsets, ends, groups, 0, cols, depth, scaleA, scaleB, nullptr, c, nullptr);                                                 \
    }

#define FOURFOLD_GROUPED_GEMM_DEPTH(name, output)                                                                       \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1)                       \
        name(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB,                        \
             const __grid_constant__ CUtensorMap mapC, const int* __restrict__ offsets, int groups, int rows, int cols,  \
             const float* __restrict__ scaleA, const float* __restrict__ scaleB, float* squares, int* counters) {      \
        fourfold::groupedGemm<fourfold::DepthLayout, fourfold::Split::kDepth, true, true, fourfold::Output::output>(    \
            &mapA, &mapB, &mapC, offsets, offsets + 1, groups, rows, cols, 0, scaleA, scaleB, squares, nullptr, counters);                                              \
    }

FOURFOLD_GROUPED_GEMM_ROWS(grouped_gemm_fprop_bf16_sm90a, false)
FOURFOLD_GROUPED_GEMM_ROWS(grouped_gemm_dgrad_bf16_sm90a, true)
FOURFOLD_GROUPED_GEMM_DEPTH(grouped_gemm_wgrad_fp32_sm90a, kFp32)
FOURFOLD_GROUPED_GEMM_DEPTH(grouped_gemm_wgrad_fp32_accumulate_sm90a, kFp32Accumulate)
