// Pieces of the attention backward (attention_backward_sm90a.cu): how shared memory is divided, and what a warpgroup does in a
// step: the five products, each started without waiting, and the arithmetic between them.
#pragma once

#include "attention_tiles.cuh"
#include "wgmma_attention.cuh"

namespace fourfold {

template <int kHeadDim, int kQueries>
struct BackwardLayout {
    static constexpr int dim = kHeadDim;
    static constexpr int queries = kQueries;
    static constexpr int keys = 128;
    static constexpr int stages = 3;  // of queries, which dK still reads while the next scores need theirs
    static constexpr int doutStages = 2;
    static constexpr int boxes = kHeadDim / 64;
    static constexpr int queryBoxBytes = queries * 128;
    static constexpr int keyBoxBytes = keys * 128;
    static constexpr int queryBytes = boxes * queryBoxBytes;
    static constexpr int keyBytes = boxes * keyBoxBytes;
    static constexpr int dsBytes = keys * queries * 2;
    static constexpr int dqBytes = queries * kHeadDim * 4;
    static constexpr int rowFloats = 3 * queries + 4;  // of each query: log-sum-exp, delta, document start; place of the first
    static constexpr int rowBytes = rowFloats * 4;
    static_assert(dqBytes == 2 * 128 * 32 * 4);
    static constexpr int k = 0;
    static constexpr int v = k + keyBytes;
    static constexpr int q = v + keyBytes;
    static constexpr int dout = q + stages * queryBytes;
    static constexpr int ds = dout + doutStages * queryBytes;
    static constexpr int dq = ds + 2 * dsBytes;
    static constexpr int sumStages = kHeadDim == 128 ? 3 : 2;  // of pieces of finished sums of dQ: 8 columns of 64 rows
    static constexpr int sumBytes = 64 * 8 * 4;
    static constexpr int finished = dq + dqBytes;  // a box of 64 columns of 64 rows, BF16
    static constexpr int sums = finished + 64 * 128;
    static constexpr int rows = sums + sumStages * sumBytes;
    static constexpr int barriers = rows + stages * rowBytes;
    static constexpr int info = barriers + (5 + 2 * stages + 2 * doutStages + sumStages) * 8;
    static constexpr int workBytes = 48;
    static constexpr int added = info + 2 * workBytes;  // of each adder: how many steps it has added
    static constexpr int total = added + 2 * 4 + 1024 /* alignment */;
    static_assert(total <= 227 * 1024);
};

template <class L>
struct BackwardBarriers {
    uint32_t base;
    __device__ uint32_t keysFull() const { return base; }
    __device__ uint32_t keysEmpty() const { return base + 8; }
    __device__ uint32_t dqEmpty() const { return base + 16; }
    __device__ uint32_t dqFull(int adder) const { return base + 24 + adder * 8; }
    __device__ uint32_t queryFull(int stage) const { return base + 40 + stage * 8; }
    __device__ uint32_t queryEmpty(int stage) const { return base + 40 + (L::stages + stage) * 8; }
    __device__ uint32_t doutFull(int stage) const { return base + 40 + (2 * L::stages + stage) * 8; }
    __device__ uint32_t doutEmpty(int stage) const { return base + 40 + (2 * L::stages + L::doutStages + stage) * 8; }
    __device__ uint32_t sumsFull(int stage) const { return base + 40 + (2 * L::stages + 2 * L::doutStages + stage) * 8; }
};

// d[64 keys, queries] = rows of K or V times the rows of Q or dO, transposed.
template <class L>
__device__ __forceinline__ void startTransposed(float (&d)[L::queries / 2], uint32_t keys, uint32_t queries) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::dim / 16; ++i) {
        wgmmaShared<false, false>(d, rowsDescriptor(keys + i / 4 * L::keyBoxBytes + i % 4 * 32),
                                  rowsDescriptor(queries + i / 4 * L::queryBoxBytes + i % 4 * 32), i > 0);
    }
    wgmmaCommit();
}

// d[64 keys, D] (+)= a^T [64 keys, queries] times Q or dO.
template <class L>
__device__ __forceinline__ void startGradient(float (&d)[L::dim / 2], uint32_t (&a)[L::queries / 16][4], uint32_t queries, bool add) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::queries / 16; ++i) {
        wgmmaRegisters<true>(d, a[i], columnsDescriptor(queries + i * 2048, L::queryBoxBytes), add || i > 0);
    }
    wgmmaCommit();
}

// dK += dS^T Q with dS^T from shared memory: the registers are needed for the next scores.
template <class L>
__device__ __forceinline__ void startKeyGradient(float (&d)[L::dim / 2], uint32_t ds, uint32_t queries, bool add) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::queries / 16; ++i) {
        wgmmaShared<false, true>(d, rowsDescriptor(ds + i / 4 * L::keyBoxBytes + i % 4 * 32),
                                 columnsDescriptor(queries + i * 2048, L::queryBoxBytes), add || i > 0);
    }
    wgmmaCommit();
}

// A warpgroup's half of dQ = dS K: 64 of 128 columns, or 64 of 128 queries.
template <class L>
__device__ __forceinline__ void startQueryGradient(float (&d)[32], uint32_t ds, uint32_t keys, int consumer) {
    uint32_t a = ds + (L::queries == 128 ? consumer * L::keyBoxBytes : 0);
    uint32_t b = keys + (L::dim == 128 ? consumer * L::keyBoxBytes : 0);
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < L::keys / 16; ++i) {
        wgmmaShared<true, true>(d, columnsDescriptor(a + i * 2048, L::keyBoxBytes), columnsDescriptor(b + i * 2048, L::keyBoxBytes), i > 0);
    }
    wgmmaCommit();
}

template <int kCount>
__device__ __forceinline__ void packRows(const float (&x)[kCount], uint32_t (&a)[kCount / 8][4]) {
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
        a[i / 4][i % 4] = packBf16(x[2 * i], x[2 * i + 1]);
    }
}

// Two values of shared memory, read here and not earlier: hoisted loads would cost registers.
__device__ __forceinline__ float2 loadPair(uint32_t from) {
    float2 x;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(from) : "memory");
    return x;
}

__device__ __forceinline__ float4 loadFour(uint32_t from) {
    float4 x;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "r"(from) : "memory");
    return x;
}

__device__ __forceinline__ void storeFour(uint32_t to, float a, float b, float c, float d) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}

__device__ __forceinline__ void storeInt(uint32_t to, uint32_t x) {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(x) : "memory");
}

__device__ __forceinline__ int loadInt(uint32_t from) {
    int x;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(from) : "memory");
    return x;
}

// Scores to probabilities. row: the queries' log-sum-exp and so on in shared memory. tileKey, lastKey: places in the sequence of
// the first and last key of the tile.
template <class L>
__device__ __forceinline__ void probabilities(
    float (&s)[L::queries / 2], uint32_t row, float factor, int tileKey, int lastKey, int consumer) {
    int key = tileKey + consumer * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    int column = threadIdx.x % 4 * 2;
    int query = loadInt(row + L::queries * 12);
    bool part = lastKey < tileKey + L::keys - 1;
    if (query < tileKey + L::keys - 1 || part || loadInt(row + L::queries * 12 - 4) > tileKey) {
#pragma unroll
        for (int i = 0; i < L::queries / 2; ++i) {
            int local = column + i / 4 * 8 + i % 2;
            int at = key + i / 2 % 2 * 8;
            if (at > min(query + local, lastKey) || at < loadInt(row + (2 * L::queries + local) * 4)) {
                s[i] = -INFINITY;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < L::queries / 2; i += 4) {
        float2 l = loadPair(row + (column + i * 2) * 4);
        s[i] = exp2Fast(fmaf(s[i], factor, -l.x));
        s[i + 1] = exp2Fast(fmaf(s[i + 1], factor, -l.y));
        s[i + 2] = exp2Fast(fmaf(s[i + 2], factor, -l.x));
        s[i + 3] = exp2Fast(fmaf(s[i + 3], factor, -l.y));
    }
}

template <class L>
__device__ __forceinline__ void scoreGradients(const float (&p)[L::queries / 2], float (&dp)[L::queries / 2], uint32_t delta) {
#pragma unroll
    for (int i = 0; i < L::queries / 2; i += 4) {
        float2 d = loadPair(delta + (threadIdx.x % 4 * 2 + i * 2) * 4);
        dp[i] = p[i] * (dp[i] - d.x);
        dp[i + 1] = p[i + 1] * (dp[i + 1] - d.y);
        dp[i + 2] = p[i + 2] * (dp[i + 2] - d.x);
        dp[i + 3] = p[i + 3] * (dp[i + 3] - d.y);
    }
}

// 64 rows of packed accumulators into boxes of 64 columns.
template <int kTiles>
__device__ __forceinline__ void storeTiles(uint32_t to, uint32_t boxBytes, int consumer, const uint32_t (&a)[kTiles][4]) {
    int thread = threadIdx.x % 128;
    int row = consumer * 64 + thread / 32 * 16 + thread % 16;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
        uint32_t chunk = (j % 4 * 2 + thread % 32 / 16) ^ (row % 8);
        storeMatrices(to + j / 4 * boxBytes + row * 128 + chunk * 16, a[j][0], a[j][1], a[j][2], a[j][3]);
    }
}

template <class L>
__device__ __forceinline__ void storeKeyGradient(
    float (&d)[L::dim / 2], float factor, uint32_t to, const CUtensorMap* map, int column, int key, int batch, int consumer) {
#pragma unroll
    for (int i = 0; i < L::dim / 2; ++i) {
        d[i] *= factor;
    }
    uint32_t packed[L::dim / 16][4];
    packRows(d, packed);
    storeTiles(to, L::keyBoxBytes, consumer, packed);
    fenceAsyncProxy();
    namedBarrier(2 + consumer, 128);
    if (threadIdx.x % 128 == 0) {
#pragma unroll
        for (int box = 0; box < L::boxes; ++box) {
            storeBox3d(map, to + box * L::keyBoxBytes + consumer * 64 * 128, column + box * 64, key + consumer * 64, batch);
        }
        bulkCommit();
    }
}

// Adds a thread's rows of the gradient of keys or values to FP32 memory, of which no other block knows. to: the tile's first
// row and column; rows: how many there are.
template <class L>
__device__ __forceinline__ void addKeyGradient(const float (&d)[L::dim / 2], float factor, float* to, long width, int rows, int consumer) {
    int row = consumer * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    to += row * width + threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        if (row + 8 * h < rows) {
#pragma unroll
            for (int j = 0; j < L::dim / 8; ++j) {
                float2* pair = reinterpret_cast<float2*>(to + 8 * h * width + j * 8);
                float2 x = *pair;
                *pair = make_float2(x.x + d[j * 4 + 2 * h] * factor, x.y + d[j * 4 + 2 * h + 1] * factor);
            }
        }
    }
}

}  // namespace fourfold
