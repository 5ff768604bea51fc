// Tensor-core building blocks of attention: BF16 tiles of whole rows in shared memory, fragments of mma.sync m16n8k16.
//
// A tile holds kDim values per row at a stride of kDim + 8: rows shift by 16 bytes, so the eight rows of an ldmatrix lie
// in different banks. Fragments, with g = lane / 4 and c = 2 (lane % 4):
//   A 16x16  (g, c) (g+8, c) (g, c+8) (g+8, c+8)      B 16x8  (c, g) (c+8, g)      C 16x8  (g, c) (g+8, c)
// so two neighbouring C tiles, packed to BF16, are an A fragment of the next product.
#pragma once

#include "token_chunks.cuh"
#include "vector.cuh"

namespace fourfold {

constexpr float kLog2E = 1.4426950408889634f;

struct Attention {
    int sequence, heads, kvHeads;
    float scale;
    __device__ __forceinline__ int group() const { return heads / kvHeads; }
    __device__ __forceinline__ long width(int dim) const { return long(heads + 2 * kvHeads) * dim; }
};

// Where a call's keys and values, or their gradients, are: rows of width columns, keys from column on. They may lie beside the
// queries or in a tensor of their own.
template <class T>
struct KeyValues {
    T* rows;
    int width, column, kvHeads;

    // A key of a head.
    __device__ __forceinline__ T* at(long row, int kvHead, int dim) const { return rows + row * long(width) + column + kvHead * dim; }
    // From a key to its value.
    __device__ __forceinline__ int valuesOn(int dim) const { return kvHeads * dim; }
};

// Row among those of all sequences of a tile's first row.
__device__ __forceinline__ int rowOf(const ChunkRows& rows, int batch, const TilePlace& tile) {
    return (batch * rows.count() + tile.chunk) * rows.length + tile.row;
}

__device__ __forceinline__ uint32_t sharedAddress(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ float exp2Fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

template <int kDim>
struct Tile {
    static constexpr int kStride = kDim + 8;
    static __host__ __device__ constexpr int bytes(int rows) { return rows * kStride * 2; }
    uint32_t base;

    // A or non-transposed source: 16 rows from row, 16 columns from col; r in A order.
    __device__ __forceinline__ void loadA(int row, int col, uint32_t (&r)[4]) const {
        int lane = threadIdx.x % kWarp;
        load(row + lane % 16, col + lane / 16 * 8, r);
    }

    // B of C = A * T^T: rows are n. r[0..1] for n = row .. row+7, r[2..3] for the next eight; k = col .. col+15.
    __device__ __forceinline__ void loadRows(int row, int col, uint32_t (&r)[4]) const {
        int lane = threadIdx.x % kWarp;
        load(row + lane / 16 * 8 + lane % 8, col + lane / 8 % 2 * 8, r);
    }

    // B of C = A * T: rows are k. r[0..1] for n = col .. col+7, r[2..3] for the next eight; k = row .. row+15.
    __device__ __forceinline__ void loadColumns(int row, int col, uint32_t (&r)[4]) const {
        int lane = threadIdx.x % kWarp;
        uint32_t at = base + ((row + lane % 16) * kStride + col + lane / 16 * 8) * 2;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at));
    }

    // Starts the copy of kRows rows; rows at limit and beyond become zero.
    template <int kRows, int kThreads>
    __device__ __forceinline__ void copyRows(const bf16* from, long stride, int limit) const {
        constexpr int kVectors = kDim / kVector;
#pragma unroll
        for (int item = 0; item < kRows * kVectors; item += kThreads) {
            int i = item + threadIdx.x;
            if (kRows * kVectors % kThreads == 0 || i < kRows * kVectors) {
                int row = i / kVectors, col = i % kVectors * kVector;
                bool exists = row < limit;
                const bf16* source = from + (exists ? row : 0) * stride + col;
                uint32_t at = base + (row * kStride + col) * 2;
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(source), "r"(exists ? 16 : 0));
            }
        }
    }

private:
    __device__ __forceinline__ void load(int row, int col, uint32_t (&r)[4]) const {
        uint32_t at = base + (row * kStride + col) * 2;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at));
    }
};

__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;"); }

template <int kPending>
__device__ __forceinline__ void awaitCopies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending));
}

__device__ __forceinline__ void multiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c[16, 8 kTiles] += rows of a from aRow times the rows of b, over kDim.
template <int kDim, int kTiles>
__device__ __forceinline__ void multiplyRows(float (&c)[kTiles][4], Tile<kDim> a, int aRow, Tile<kDim> b) {
#pragma unroll
    for (int k = 0; k < kDim; k += 16) {
        uint32_t x[4];
        a.loadA(aRow, k, x);
#pragma unroll
        for (int n = 0; n < kTiles; n += 2) {
            uint32_t y[4];
            b.loadRows(n * 8, k, y);
            multiplyAdd(c[n], x, y[0], y[1]);
            multiplyAdd(c[n + 1], x, y[2], y[3]);
        }
    }
}

// c[16, kDim] += p[16, 8 kTiles] times the tile b [8 kTiles, kDim]; p rounded to BF16.
template <int kDim, int kTiles>
__device__ __forceinline__ void multiplyColumns(float (&c)[kDim / 8][4], const float (&p)[kTiles][4], Tile<kDim> b) {
#pragma unroll
    for (int k = 0; k < kTiles; k += 2) {
        uint32_t x[4] = {packBf16(p[k][0], p[k][1]), packBf16(p[k][2], p[k][3]), packBf16(p[k + 1][0], p[k + 1][1]),
                         packBf16(p[k + 1][2], p[k + 1][3])};
#pragma unroll
        for (int n = 0; n < kDim / 8; n += 2) {
            uint32_t y[4];
            b.loadColumns(k * 8, n * 8, y);
            multiplyAdd(c[n], x, y[0], y[1]);
            multiplyAdd(c[n + 1], x, y[2], y[3]);
        }
    }
}

// Stores 16 accumulator rows, times factor for rows g and g + 8, through the warp's own rows of a tile.
template <int kDim>
__device__ __forceinline__ void storeRows(
    const float (&c)[kDim / 8][4], float2 factor, bf16* tile, bf16* to, long stride, int limit) {
    int lane = threadIdx.x % kWarp, g = lane / 4, col = lane % 4 * 2;
    constexpr int kStride = Tile<kDim>::kStride;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
        *reinterpret_cast<uint32_t*>(tile + g * kStride + n * 8 + col) = packBf16(c[n][0] * factor.x, c[n][1] * factor.x);
        *reinterpret_cast<uint32_t*>(tile + (g + 8) * kStride + n * 8 + col) = packBf16(c[n][2] * factor.y, c[n][3] * factor.y);
    }
    __syncwarp();
    constexpr int kVectors = kDim / kVector;
#pragma unroll
    for (int item = 0; item < 16 * kVectors; item += kWarp) {
        int row = (item + lane) / kVectors, v = (item + lane) % kVectors * kVector;
        if (row < limit) {
            *reinterpret_cast<uint4*>(to + row * stride + v) = *reinterpret_cast<const uint4*>(tile + row * kStride + v);
        }
    }
    __syncwarp();
}

// Adds 16 accumulator rows, times factor, to FP32 rows.
template <int kDim>
__device__ __forceinline__ void addRows(const float (&c)[kDim / 8][4], float factor, float* to, long stride, int limit) {
    int lane = threadIdx.x % kWarp, g = lane / 4;
    to += g * stride + lane % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        if (g + h * 8 < limit) {
#pragma unroll
            for (int n = 0; n < kDim / 8; ++n) {
                float2* pair = reinterpret_cast<float2*>(to + h * 8 * stride + n * 8);
                float2 x = *pair;
                *pair = make_float2(x.x + c[n][h * 2] * factor, x.y + c[n][h * 2 + 1] * factor);
            }
        }
    }
}

// Minimum and maximum over the block; call with all threads.
__device__ __forceinline__ int2 blockRange(int low, int high) {
    __shared__ int2 warps[kWarp];
    low = __reduce_min_sync(kAllLanes, low);
    high = __reduce_max_sync(kAllLanes, high);
    if (threadIdx.x % kWarp == 0) {
        warps[threadIdx.x / kWarp] = make_int2(low, high);
    }
    __syncthreads();
    for (int w = 0; w < int(blockDim.x) / kWarp; ++w) {
        low = min(low, warps[w].x);
        high = max(high, warps[w].y);
    }
    return make_int2(low, high);
}

}  // namespace fourfold
