// Grouped GEMM without tensor cores, for FP32 operands and for shapes the copy engine cannot take: any alignment, BF16 or
// FP32 in and out, FP32 accumulation in the order of K. It is the reference of the `fp32` recipe on a GPU, not a fast path.
//
//   rows    C[r, n]  = sum_k A[r, k] W_g(n, k)      A [R, K], W_g [N, K], or [K, N] when depthMajor; rows split by offsets, or a part of them by ends
//   depth   C_g[m,n] (+)= sum_r A[r, m] B[r, n]     A [R, M], B [R, N], C [G, M, N]; depth split by offsets
//
// A block computes 64 x 64 of C, a thread 4 x 4. scaleA and scaleB [G], either null: factors of each group's product.

#include <cuda_bf16.h>

#include "quantize/groups.cuh"

namespace fourfold {

constexpr int kTile = 64;
constexpr int kStep = 16;

__device__ __forceinline__ float toFloat(float x) { return x; }
__device__ __forceinline__ float toFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void put(float* to, float x) { *to = x; }
__device__ __forceinline__ void put(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

// A matrix whose element (i, k) is at i * outer + k * inner.
template <class T>
struct Strided {
    const T* at;
    long outer;
    long inner;
};

// The 64 x 64 corner at (row, col) of C = alpha * A * B^T (+ C), rows and cols being the extents of C.
template <class A, class B, class C>
__device__ __forceinline__ void product(
    Strided<A> a, Strided<B> b, int row, int col, int rows, int cols, int depth, float alpha, C* c, long stride, bool accumulate) {
    __shared__ float tileA[kStep][kTile + 4];
    __shared__ float tileB[kStep][kTile + 4];
    float sum[4][4] = {};
    int x = threadIdx.x % 16 * 4;
    int y = threadIdx.x / 16 * 4;
    for (int k0 = 0; k0 < depth; k0 += kStep) {
        for (int i = threadIdx.x; i < kTile * kStep; i += 256) {
            // Neighbouring threads read neighbouring addresses, along K or across it.
            int ka = a.inner == 1 ? i % kStep : i / kTile;
            int ra = a.inner == 1 ? i / kStep : i % kTile;
            tileA[ka][ra] = row + ra < rows && k0 + ka < depth ? toFloat(a.at[(row + ra) * a.outer + (k0 + ka) * a.inner]) : 0.f;
            int kb = b.inner == 1 ? i % kStep : i / kTile;
            int rb = b.inner == 1 ? i / kStep : i % kTile;
            tileB[kb][rb] = col + rb < cols && k0 + kb < depth ? toFloat(b.at[(col + rb) * b.outer + (k0 + kb) * b.inner]) : 0.f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kStep; ++k) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    sum[i][j] += tileA[k][y + i] * tileB[k][x + j];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (row + y + i < rows && col + x + j < cols) {
                C* to = c + long(row + y + i) * stride + col + x + j;
                put(to, sum[i][j] * alpha + (accumulate ? toFloat(*to) : 0.f));
            }
        }
    }
}

__device__ __forceinline__ float groupScale(const float* scaleA, const float* scaleB, int group) {
    return (scaleA == nullptr ? 1.f : __ldg(scaleA + group)) * (scaleB == nullptr ? 1.f : __ldg(scaleB + group));
}

// Grid: (ceil(cols / 64), ceil(R / 64) + groups): row tiles start at each group's first row.
template <class A, class B, class C>
__device__ __forceinline__ void groupedRows(
    const A* a, const B* w, const int* offsets, const int* ends, int groups, int cols, int depth, bool depthMajor,
    const float* scaleA, const float* scaleB, C* c) {
    int tile = blockIdx.y;
    for (int g = 0; g < groups; ++g) {
        int begin = offsets[g];
        int rows = ends[g] - begin;
        int tiles = (rows + kTile - 1) / kTile;
        if (tile < tiles) {
            const B* matrix = w + long(g) * cols * depth;
            product(Strided<A>{a + long(begin) * depth, depth, 1},
                    depthMajor ? Strided<B>{matrix, 1, cols} : Strided<B>{matrix, depth, 1}, tile * kTile,
                    blockIdx.x * kTile, rows, cols, depth, groupScale(scaleA, scaleB, g), c + long(begin) * cols, cols, false);
            return;
        }
        tile -= tiles;
    }
}

// Grid: (ceil(cols / 64), ceil(rows / 64), groups).
template <class A, class B, class C>
__device__ __forceinline__ void groupedDepth(
    const A* a, const B* b, const int* offsets, int rows, int cols, const float* scaleA, const float* scaleB, C* c,
    bool accumulate) {
    int g = blockIdx.z;
    int begin = offsets[g];
    product(Strided<A>{a + long(begin) * rows, 1, rows}, Strided<B>{b + long(begin) * cols, 1, cols}, blockIdx.y * kTile,
            blockIdx.x * kTile, rows, cols, offsets[g + 1] - begin, groupScale(scaleA, scaleB, g),
            c + long(g) * rows * cols, cols, accumulate);
}

}  // namespace fourfold

// kernels -----------------------------------------------------------------------------------------------------------
// Block 256.

#define FOURFOLD_GROUPED(suffix, A, B, C)                                                                               \
    extern "C" __global__ void __launch_bounds__(256) grouped_rows_##suffix(                                           \
        const A* __restrict__ a, const B* __restrict__ w, const int* offsets, const int* ends, int groups, int cols,   \
        int depth, int depthMajor, const float* __restrict__ scaleA, const float* __restrict__ scaleB,                 \
        C* __restrict__ c) {                                                                                           \
        fourfold::groupedRows(a, w, offsets, ends, groups, cols, depth, depthMajor != 0, scaleA, scaleB, c);                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) grouped_depth_##suffix(                                          \
        const A* __restrict__ a, const B* __restrict__ b, const int* __restrict__ offsets, int rows, int cols,         \
        const float* __restrict__ scaleA, const float* __restrict__ scaleB, C* c, int accumulate) {                    \
        fourfold::groupedDepth(a, b, offsets, rows, cols, scaleA, scaleB, c, accumulate != 0);                         \
    }

FOURFOLD_GROUPED(bf16_bf16_bf16, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16)
FOURFOLD_GROUPED(bf16_bf16_fp32, __nv_bfloat16, __nv_bfloat16, float)
FOURFOLD_GROUPED(fp32_fp32_bf16, float, float, __nv_bfloat16)
FOURFOLD_GROUPED(fp32_fp32_fp32, float, float, float)
FOURFOLD_GROUPED(fp32_bf16_bf16, float, __nv_bfloat16, __nv_bfloat16)
FOURFOLD_GROUPED(fp32_bf16_fp32, float, __nv_bfloat16, float)
FOURFOLD_GROUPED(bf16_fp32_bf16, __nv_bfloat16, float, __nv_bfloat16)
FOURFOLD_GROUPED(bf16_fp32_fp32, __nv_bfloat16, float, float)
