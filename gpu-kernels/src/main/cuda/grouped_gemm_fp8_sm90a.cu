// Grouped GEMM, E4M3 operands, FP32 accumulation, for Hopper: the structure of grouped_gemm_bf16_sm90a.cu with operands of
// one byte, which the tensor cores take K-major only. So the quantizer stores every operand with K contiguous:
//
//   rows    C[r, n]  = scale * sum_k A[r, k] W_g[n, k]      A [R, K], W [G, N, K], C BF16 [R, N]         rows split
//   depth   C_g[m,n] (+)= scale * sum_r A[m, r] B[n, r]     A [M, L], B [N, L], C FP32 [G, M, N]         depth split
//
// rows serves fprop and dgrad (with transposed weights). depth is wgrad: group g's tokens lie at starts[g], a multiple of
// 128, with zeros up to the next one, and L is a bound on all of them; offsets [G+1] say how many tokens there are.
// scaleA and scaleB [G]: factors of each group's product.
//
// Each piece of 128 along K is summed by the tensor cores in 64 fresh registers and added to the FP32 accumulators by
// ordinary instructions, half the columns at a time; while one warpgroup adds, the other one multiplies. Against FP64 sums
// wgrad of 4096 tokens then errs by 1.2e-4 (norm); left to the tensor cores by 1.3e-3, fprop of K 14336 by 3e-3, for 10 to
// 30% more speed (FOURFOLD_VARIANTS builds those kernels).
//
// Alignment: base pointers 16 bytes, row lengths multiples of 16 elements; C rows multiples of 8.

#include "sm90/grouped_output.cuh"
#include "sm90/grouped_tiles.cuh"
#include "sm90/wgmma_e4m3.cuh"

namespace fourfold {

using RowsLayout = Layout<128, 4, false, 1>;
using DepthLayout = Layout<128, 4, true, 1>;
constexpr int kBoxRowBytes = 128;

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

// One stage: d += A[64 x 128] * B[256 x 128]^T.
template <bool kPromote>
__device__ __forceinline__ void multiplyStage(float (&d)[128], uint32_t a, uint32_t b) {
    if constexpr (kPromote) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float part[64];
            wgmmaFence();
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                wgmma64x128x32(part, operandDescriptor<false, 64>(a + i * 32),
                               operandDescriptor<false, 64>(b + half * 128 * kBoxRowBytes + i * 32), i > 0);
            }
            wgmmaCommit();
            wgmmaWait<0>();
#pragma unroll
            for (int i = 0; i < 64; ++i) {
                d[half * 64 + i] += part[i];
            }
        }
    } else {
        wgmmaFence();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            wgmma64x256x32(d, operandDescriptor<false, 64>(a + i * 32), operandDescriptor<false, 64>(b + i * 32), 1);
        }
        wgmmaCommit();
    }
}

template <class L, Split kSplit, Output kOutput, bool kPromote>
__device__ __forceinline__ void groupedGemmFp8(
    const CUtensorMap* mapA,
    const CUtensorMap* mapB,
    const CUtensorMap* mapC,  // kDepth only
    const int* offsets,
    const int* starts,  // kDepth only
    int groups,
    int fixedRows,  // kDepth: M
    int cols,       // N
    int depth,      // kRows: K
    const float* scaleA,
    const float* scaleB,
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

    TileWalk<kSplit> walk(offsets, starts, order, groups, fixedRows, cols, rank);
    Tile tile;
    int stage = 0;
    uint32_t parity = 0;

    if (warpgroup == 0) {
        registersDecrease<40>();
        if (threadIdx.x == 0) {
            while (walk.next(tile)) {
                int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
                for (int k = 0; k < span; k += L::depth) {
                    barrierWait(empty + stage * 8, parity ^ 1);
                    uint32_t bar = full + stage * 8;
                    uint32_t a = baseAddr + stage * L::stageBytes;
                    barrierExpectBytes(bar, L::stageBytes);
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
        registersIncrease<232>();
        int consumer = warpgroup - 1;
        int thread = threadIdx.x % 128;
        while (walk.next(tile)) {
            float d[128];
#pragma unroll
            for (int i = 0; i < 128; ++i) {
                d[i] = 0.f;
            }
            int span = kSplit == Split::kRows ? depth : tile.end - tile.begin;
            int previous = -1;
            for (int k = 0; k < span; k += L::depth) {
                barrierWait(full + stage * 8, parity);
                uint32_t a = baseAddr + stage * L::stageBytes + consumer * 64 * kBoxRowBytes;
                uint32_t b = baseAddr + stage * L::stageBytes + L::bytesA;
                multiplyStage<kPromote>(d, a, b);
                if constexpr (!kPromote) {
                    wgmmaWait<1>();
                }
                int done = kPromote ? stage : previous;
                if (done >= 0 && thread < 2) {
                    barrierArriveRemote(empty + done * 8, thread);
                }
                previous = stage;
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
            float alpha = __ldg(scaleA + tile.group) * __ldg(scaleB + tile.group);
#pragma unroll
            for (int i = 0; i < 128; ++i) {
                d[i] *= alpha;
            }
            int row = tile.row + consumer * 64;
            if constexpr (kOutput == Output::kBf16) {
                storeBf16(d, c + long(row) * cols + tile.col, cols, tile.end - row, cols - tile.col, thread);
            } else if (kOutput == Output::kFp32 || previous >= 0) {
                char* staging = base + L::staging + consumer * kStagingBuffers * kStagingBytes;
                storeFp32<kOutput == Output::kFp32Accumulate>(d, mapC, staging, tile.col, row, tile.group, thread,
                                                              2 + consumer);
            }
        }
        if (kOutput != Output::kBf16 && thread == 0) {
            bulkWait<0>();
        }
    }
    clusterBarrier();  // a block must not leave while the other can still signal it
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------
// Grid: any even number of blocks, best the number of multiprocessors; block 384; shared memory: the layout's total.
// Tensor maps of bytes, 128-byte swizzle: A [64 rows x 128], B [128 rows x 128]; C FP32 3-D [group][64][32].

extern "C" __constant__ int grouped_gemm_fp8_rows_shared_bytes = fourfold::RowsLayout::total;
extern "C" __constant__ int grouped_gemm_fp8_depth_shared_bytes = fourfold::DepthLayout::total;

#define FOURFOLD_GROUPED_GEMM_FP8_ROWS(name, promote)                                                                   \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1)                       \
        name(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB,                        \
             const int* __restrict__ offsets, int groups, int cols, int depth, const float* __restrict__ scaleA,         \
             const float* __restrict__ scaleB, __nv_bfloat16* c) {                                                      \
        fourfold::groupedGemmFp8<fourfold::RowsLayout, fourfold::Split::kRows, fourfold::Output::kBf16, promote>(       \
            &mapA, &mapB, nullptr, offsets, nullptr, groups, 0, cols, depth, scaleA, scaleB, c);                        \
    }

#define FOURFOLD_GROUPED_GEMM_FP8_DEPTH(name, output, promote)                                                          \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(fourfold::kThreads, 1)                       \
        name(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB,                        \
             const __grid_constant__ CUtensorMap mapC, const int* __restrict__ offsets,                                 \
             const int* __restrict__ starts, int groups, int rows, int cols, const float* __restrict__ scaleA,          \
             const float* __restrict__ scaleB) {                                                                        \
        fourfold::groupedGemmFp8<fourfold::DepthLayout, fourfold::Split::kDepth, fourfold::Output::output, promote>(    \
            &mapA, &mapB, &mapC, offsets, starts, groups, rows, cols, 0, scaleA, scaleB, nullptr);                      \
    }

FOURFOLD_GROUPED_GEMM_FP8_ROWS(grouped_gemm_fp8_rows_sm90a, true)
#ifdef FOURFOLD_VARIANTS
FOURFOLD_GROUPED_GEMM_FP8_ROWS(grouped_gemm_fp8_rows_fast_sm90a, false)
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(grouped_gemm_fp8_wgrad_fast_sm90a, kFp32, false)
#endif
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(grouped_gemm_fp8_wgrad_sm90a, kFp32, true)
FOURFOLD_GROUPED_GEMM_FP8_DEPTH(grouped_gemm_fp8_wgrad_accumulate_sm90a, kFp32Accumulate, true)
