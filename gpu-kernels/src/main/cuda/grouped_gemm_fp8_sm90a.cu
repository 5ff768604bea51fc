// Grouped GEMM, E4M3 operands, FP32 accumulation, for Hopper: the structure of grouped_gemm_bf16_sm90a.cu with operands of
// one byte, which the tensor cores take K-major only. So the quantizer stores every operand with K contiguous:
//
//   rows    C[r, n]  = scale * sum_k A[r, k] W_g[n, k]      A [R, K], W [G, N, K], C BF16 [R, N]         rows split
//   depth   C_g[m,n] (+)= scale * sum_r A[m, r] B[n, r]     A [M, L], B [N, L], C FP32 [G, M, N]         depth split
//
// rows serves fprop and dgrad (with transposed weights). depth is wgrad: group g's tokens lie at starts[g], a multiple of
// 128, with zeros up to the next one, and L is a bound on all of them; offsets [G+1] say how many tokens there are.
//
// Factors belong to groups: scaleA, scaleB [G], of each finished product; or to blocks of 128 along K, which each piece is
// multiplied with as it is added:
//
//   rows      scaleA [ceil(K / 128), R] (vectors), scaleB [G, ceil(N / 128), ceil(K / 128)] (squares)
//   depth     scaleA [L / 128, M], scaleB [L / 128, N] (vectors)
//
// Factors are read beyond their end (of rows and columns that do not exist): by 128, or by ceil(K / 128) for squares.
//
// Each piece of 128 along K is summed by the tensor cores in 64 fresh registers and added to the FP32 accumulators by
// ordinary instructions, half the columns at a time; while one warpgroup adds, the other one multiplies. Against FP64 sums
// wgrad of 4096 tokens then errs by 1.2e-4 (norm); left to the tensor cores by 1.3e-3, fprop of K 14336 by 3e-3, for 10 to
// 30% more speed (FOURFOLD_VARIANTS builds those kernels).
//
// Alignment: base pointers 16 bytes, row lengths multiples of 16 elements; C rows multiples of 8.

#include "sm90/fp8_stage.cuh"
#include "sm90/grouped_output.cuh"
#include "sm90/grouped_tiles.cuh"

namespace fourfold {

enum class Factors { kGroups, kBlocks };

struct RowsLayout : Layout<128, 4, true, 1> {
    static constexpr int stageStride = stageBytes;
};

struct DepthLayout : Layout<128, 4, true, 1> {
    static constexpr int stageStride = stageBytes;
};

constexpr int kAsideBytes = 96;  // a warp's room for what it does not need while it multiplies

struct RowsBlocksLayout : RowsLayout {
    static constexpr int aside = order + kMaxOrdered * 2;
    static constexpr int total = aside + 8 * kAsideBytes + 1024 /* alignment */;
    static_assert(total <= 227 * 1024 && sizeof(TileWalk<Split::kRows>) <= kAsideBytes);
};

// Each stage is followed by the factors of its rows and columns.
struct DepthBlocksLayout {
    static constexpr int depth = DepthLayout::depth;
    static constexpr int stages = 3;
    static constexpr int bytesA = DepthLayout::bytesA;
    static constexpr int stageBytes = DepthLayout::stageBytes;
    static constexpr int colScales = stageBytes + kTileRows * 4;
    static constexpr int stageStride = stageBytes + 2048;
    static constexpr int staging = stages * stageStride;
    static constexpr int barriers = staging + 2 * kStagingBuffers * kStagingBytes;
    static constexpr int order = barriers + 2 * stages * 8;
    static constexpr int aside = order + kMaxOrdered * 2;
    static constexpr int total = aside + 8 * kAsideBytes + 1024 /* alignment */;
    static_assert(total <= 227 * 1024 && colScales + kTileCols * 4 <= stageStride && stageStride % 1024 == 0);
};

// 128 rows of A: two boxes of 64; when A is shared each block fetches one of them for both.
template <Split kSplit>
__device__ __forceinline__ void loadA(
    uint32_t to, const CUtensorMap* map, uint32_t bar, const Tile& tile, int k, uint32_t rank) {
    int x = kSplit == Split::kRows ? k : tile.begin + k;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        int y = tile.row + i * 64;
        if (tile.stacked) {
            copyBox(to + i * 64 * kBoxRowBytes, map, bar, x, y);
        } else if (i == rank) {
            copyBoxMulticast(to + i * 64 * kBoxRowBytes, map, bar, x, y, 3);
        }
    }
}

// 256 columns of B: two boxes of 128; one each when B is shared.
template <Split kSplit>
__device__ __forceinline__ void loadB(
    uint32_t to, const CUtensorMap* map, uint32_t bar, const Tile& tile, int k, uint32_t rank, int cols) {
    int x = kSplit == Split::kRows ? k : tile.begin + k;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        int y = (kSplit == Split::kRows ? tile.group * cols : 0) + tile.col + i * 128;
        if (!tile.stacked) {
            copyBox(to + i * 128 * kBoxRowBytes, map, bar, x, y);
        } else if (i == rank) {
            copyBoxMulticast(to + i * 128 * kBoxRowBytes, map, bar, x, y, 3);
        }
    }
}

// Registers are scarce while a warp multiplies: what it does not need then waits in shared memory. Every lane holds the same.
template <class T>
__device__ __forceinline__ void putAside(uint32_t slot, const T& value) {
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &value, sizeof(T));
#pragma unroll
    for (int i = 0; i < sizeof(T) / 4; ++i) {
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(slot + i * 4), "r"(words[i]) : "memory");
    }
}

template <class T>
__device__ __forceinline__ void takeBack(uint32_t slot, T& value) {
    uint32_t words[sizeof(T) / 4];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < sizeof(T) / 4; ++i) {
        asm volatile("ld.shared.b32 %0, [%1];" : "=r"(words[i]) : "r"(slot + i * 4) : "memory");
    }
    memcpy(&value, words, sizeof(T));
    __syncwarp();
}

// Announces a stage's bytes and copies the factors of its rows and columns, as far as they exist.
template <class L>
__device__ __forceinline__ void loadScales(
    uint32_t stage, uint32_t bar, const Tile& tile, int piece, int rows, int cols, const float* scaleA, const float* scaleB) {
    uint32_t bytesA = max(0, min(kTileRows, rows - tile.row)) * 4;
    uint32_t bytesB = max(0, min(kTileCols, cols - tile.col)) * 4;
    barrierExpectBytes(bar, L::stageBytes + bytesA + bytesB);
    if (bytesA > 0) {
        copyBytes(stage + L::stageBytes, scaleA + long(piece) * rows + tile.row, bytesA, bar);
    }
    if (bytesB > 0) {
        copyBytes(stage + L::colScales, scaleB + long(piece) * cols + tile.col, bytesB, bar);
    }
}

template <class L, Split kSplit, Output kOutput, bool kPromote, Factors kFactors = Factors::kGroups>
__device__ __forceinline__ void groupedGemmFp8(
    const CUtensorMap* mapA,
    const CUtensorMap* mapB,
    const CUtensorMap* mapC,
    const int* offsets,
    const int* starts,  // kDepth only
    int groups,
    int fixedRows,  // kDepth: M
    int cols,       // N
    int depth,      // kRows: K
    const float* scaleA,
    const float* scaleB,
    int scaleRows,   // kRows, kBlocks: R
    float* squares,  // kFp32: [G][row tiles][column tiles][warps 8] sums of squares; may be null
    __nv_bfloat16* c) {
    constexpr bool kColumnScales = kFactors == Factors::kBlocks && kSplit == Split::kDepth;
    constexpr bool kRowScales = kFactors == Factors::kBlocks && kSplit == Split::kRows;
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
            // Two warpgroups of two blocks; every warp of them where each reads factors in shared memory on its own.
            barrierInit(empty + s * 8, kColumnScales ? 16 : 4);
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
    if constexpr (kColumnScales) {
        // What a tile's last rows and columns read beyond the factors that exist must not be NaN: zeros are multiplied with it.
        for (int i = threadIdx.x; i < L::stages * (L::stageStride - L::stageBytes) / 16; i += kThreads) {
            int perStage = (L::stageStride - L::stageBytes) / 16;
            *reinterpret_cast<uint4*>(base + i / perStage * L::stageStride + L::stageBytes + i % perStage * 16) =
                make_uint4(0, 0, 0, 0);
        }
        fenceAsyncProxy();
        __syncthreads();
    }
    clusterBarrier();

    TileWalk<kSplit> walk(offsets, offsets + 1, starts, order, groups, fixedRows, cols, rank);
    Tile tile;
    int stage = 0;
    uint32_t parity = 0;

    if (warpgroup == 0) {
        registersDecrease<kColumnScales ? 56 : 40>();
        if (threadIdx.x == 0) {
            while (walk.next(tile)) {
                int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
                for (int k = 0; k < span; k += L::depth) {
                    barrierWait(empty + stage * 8, parity ^ 1);
                    uint32_t bar = full + stage * 8;
                    uint32_t a = baseAddr + stage * L::stageStride;
                    if constexpr (kColumnScales) {
                        loadScales<L>(a, bar, tile, (tile.begin + k) / 128, fixedRows, cols, scaleA, scaleB);
                    } else {
                        barrierExpectBytes(bar, L::stageBytes);
                    }
                    loadA<kSplit>(a, mapA, bar, tile, k, rank);
                    loadB<kSplit>(a + L::bytesA, mapB, bar, tile, k, rank, cols);
                    if (++stage == L::stages) {
                        stage = 0;
                        parity ^= 1;
                    }
                }
            }
        }
    } else {
        registersIncrease<kColumnScales ? 224 : 232>();
        int consumer = warpgroup - 1;
        int thread = threadIdx.x % 128;
        while (walk.next(tile)) {
            int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
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
            if constexpr (kFactors == Factors::kBlocks) {
                putAside(baseAddr + L::aside + (threadIdx.x / 32 - 4) * kAsideBytes, walk);
            }
            float d[128];
#pragma unroll
            for (int i = 0; i < 128; ++i) {
                d[i] = 0.f;
            }
            int previous = -1;
            // Factors of this thread's first row and of the tile's first columns.
            int rowAt = 0;
            int colAt = 0;
            float nextRowScale[2], nextColScale[2];  // a stage ahead
            if constexpr (kRowScales) {
                int across = (cols + 127) / 128;
                rowAt = tile.row + consumer * 64 + thread / 32 * 16 + thread % 32 / 4;
                colAt = (tile.group * across + min(tile.col / 128, across - 1)) * ((depth + 127) / 128);
                loadFactors(nextRowScale, nextColScale, scaleA + rowAt, scaleB + colAt, (depth + 127) / 128);
            }
            for (int k = 0; k < span; k += L::depth) {
                float rowScale[2] = {nextRowScale[0], nextRowScale[1]};
                float colScale[2] = {nextColScale[0], nextColScale[1]};
                if constexpr (kRowScales) {
                    if (k + L::depth < span) {
                        rowAt += scaleRows;
                        ++colAt;
                        loadFactors(nextRowScale, nextColScale, scaleA + rowAt, scaleB + colAt, (depth + 127) / 128);
                    }
                }
                barrierWait(full + stage * 8, parity);
                uint32_t a = baseAddr + stage * L::stageStride + consumer * 64 * kBoxRowBytes;
                uint32_t b = baseAddr + stage * L::stageStride + L::bytesA;
                if constexpr (kFactors == Factors::kGroups) {
                    multiplyStage<kPromote>(d, a, b);
                } else if constexpr (kColumnScales) {
                    uint32_t scales = b - L::bytesA;
                    uint32_t row = consumer * 64 + thread / 32 * 16 + thread % 32 / 4;
                    multiplyStageScaled(
                        d, a, b, scales + L::stageBytes + row * 4, scales + L::colScales + thread % 4 * 8);
                } else {
                    multiplyStageScaled(d, a, b, rowScale, colScale);
                }
                if constexpr (!kPromote) {
                    wgmmaWait<1>();
                }
                int done = kPromote ? stage : previous;
                if constexpr (kColumnScales) {
                    __syncwarp();
                    if (thread % 32 < 2) {
                        barrierArriveRemote(empty + done * 8, thread % 32);
                    }
                } else if ((kPromote || done >= 0) && thread < 2) {
                    barrierArriveRemote(empty + done * 8, thread);
                }
                if constexpr (!kPromote) {
                    previous = stage;
                }
                if (++stage == L::stages) {
                    stage = 0;
                    parity ^= 1;
                }
            }
            if constexpr (!kPromote) {
                wgmmaWait<0>();
                if (previous >= 0 && thread < 2) {
                    barrierArriveRemote(empty + previous * 8, thread);
                }
            }
            if constexpr (kFactors == Factors::kGroups) {
                float alpha = __ldg(scaleA + tile.group) * __ldg(scaleB + tile.group);
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
            } else if (kOutput == Output::kFp32 || span > 0) {
                if (kOutput == Output::kFp32 && squares != nullptr && tile.col < cols) {
                    long rowTiles = (fixedRows + kTileRows - 1) / kTileRows;
                    long colTiles = (cols + kTileCols - 1) / kTileCols;
                    long at = (tile.group * rowTiles + tile.row / kTileRows) * colTiles + tile.col / kTileCols;
                    storeSquares(d, squares + at * 8 + consumer * 4, thread);
                }
                storeFp32<kOutput == Output::kFp32Accumulate>(d, mapC, staging, tile.col, row, tile.group, thread,
                                                              2 + consumer);
            }
            if constexpr (kFactors == Factors::kBlocks) {
                takeBack(baseAddr + L::aside + (threadIdx.x / 32 - 4) * kAsideBytes, walk);
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
// Tensor maps, 128-byte swizzle: of bytes A [64 rows x 128], B [128 rows x 128]; C BF16 [64][64] or FP32 3-D [group][64][32].

extern "C" __constant__ int grouped_gemm_fp8_rows_shared_bytes = fourfold::RowsLayout::total;
extern "C" __constant__ int grouped_gemm_fp8_rows_blocks_shared_bytes = fourfold::RowsBlocksLayout::total;
extern "C" __constant__ int grouped_gemm_fp8_depth_shared_bytes = fourfold::DepthLayout::total;
extern "C" __constant__ int grouped_gemm_fp8_depth_blocks_shared_bytes = fourfold::DepthBlocksLayout::total;

#define FOURFOLD_GROUPED_GEMM_FP8_ROWS(name, layout, promote, factors)                                                       \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1)                       \
        name(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB,                        \
             const __grid_constant__ CUtensorMap mapC, const int* __restrict__ offsets, int groups, int cols,           \
             int depth, const float* __restrict__ scaleA,                                                               \
             const float* __restrict__ scaleB, int scaleRows, __nv_bfloat16* c) {                                       \
        fourfold::groupedGemmFp8<fourfold::layout, fourfold::Split::kRows, fourfold::Output::kBf16, promote,            \
                                 fourfold::Factors::factors>(                                                           \
            &mapA, &mapB, &mapC, offsets, nullptr, groups, 0, cols, depth, scaleA, scaleB, scaleRows, nullptr, c);    \
    }

#define FOURFOLD_GROUPED_GEMM_FP8_DEPTH(name, layout, output, promote, factors)                                         \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1)                       \
        name(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB,                        \
             const __grid_constant__ CUtensorMap mapC, const int* __restrict__ offsets,                                 \
             const int* __restrict__ starts, int groups, int rows, int cols, const float* __restrict__ scaleA,          \
             const float* __restrict__ scaleB, float* squares) {                                                        \
        fourfold::groupedGemmFp8<fourfold::layout, fourfold::Split::kDepth, fourfold::Output::output, promote,          \
                                 fourfold::Factors::factors>(                                                           \
            &mapA, &mapB, &mapC, offsets, starts, groups, rows, cols, 0, scaleA, scaleB, 0, squares, nullptr);          \
    }

FOURFOLD_GROUPED_GEMM_FP8_ROWS(grouped_gemm_fp8_rows_sm90a, RowsLayout, true, kGroups)
FOURFOLD_GROUPED_GEMM_FP8_ROWS(grouped_gemm_fp8_rows_blocks_sm90a, RowsBlocksLayout, true, kBlocks)
#ifdef FOURFOLD_VARIANTS
FOURFOLD_GROUPED_GEMM_FP8_ROWS(grouped_gemm_fp8_rows_fast_sm90a, RowsLayout, false, kGroups)
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(grouped_gemm_fp8_wgrad_fast_sm90a, DepthLayout, kFp32, false, kGroups)
#endif
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(grouped_gemm_fp8_wgrad_sm90a, DepthLayout, kFp32, true, kGroups)
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(grouped_gemm_fp8_wgrad_accumulate_sm90a, DepthLayout, kFp32Accumulate, true, kGroups)
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(grouped_gemm_fp8_wgrad_blocks_sm90a, DepthBlocksLayout, kFp32, true, kBlocks)
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(
    grouped_gemm_fp8_wgrad_blocks_accumulate_sm90a, DepthBlocksLayout, kFp32Accumulate, true, kBlocks)
