// What a warpgroup does with one stage of E4M3 operands, 128 elements along K: 64 rows of A times 256 of B, multiplied by tensor
// cores into fresh registers, half the columns at a time, and added to FP32 sums by ordinary instructions; with factors of
// blocks, times those. Rows of a stage take 128 bytes each.
#pragma once

#include "ptx.cuh"
#include "wgmma_e4m3.cuh"

namespace fourfold {

constexpr int kBoxRowBytes = 128;

// Half a stage: part = A[64 x 128] * B[128 x 128]^T, there after the next wait.
__device__ __forceinline__ void startHalf(float (&part)[64], uint32_t a, uint32_t b) {
    wgmmaFence();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        wgmma64x128x32(part, operandDescriptor<false, 64>(a + i * 32), operandDescriptor<false, 64>(b + i * 32), i > 0);
    }
    wgmmaCommit();
}

// One stage: d += A[64 x 128] * B[256 x 128]^T.
template <bool kPromote>
__device__ __forceinline__ void multiplyStage(float (&d)[128], uint32_t a, uint32_t b) {
    if constexpr (kPromote) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float part[64];
            startHalf(part, a, b + half * 128 * kBoxRowBytes);
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

// The same with factors of this thread's two rows and of each half's columns.
__device__ __forceinline__ void multiplyStageScaled(
    float (&d)[128], uint32_t a, uint32_t b, const float (&rowScale)[2], const float (&colScale)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float part[64];
        startHalf(part, a, b + half * 128 * kBoxRowBytes);
        wgmmaWait<0>();
        float scale[2] = {rowScale[0] * colScale[half], rowScale[1] * colScale[half]};
#pragma unroll
        for (int i = 0; i < 64; ++i) {
            d[half * 64 + i] = fmaf(part[i], scale[i / 2 % 2], d[half * 64 + i]);
        }
    }
}

// Where it is written, not where the value is wanted.
__device__ __forceinline__ float loadEarly(const float* from) {
    float v;
    asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(from) : "memory");
    return v;
}

// Of two rows and of two halves of columns.
__device__ __forceinline__ void loadFactors(
    float (&rowScale)[2], float (&colScale)[2], const float* rows, const float* cols, int pieces) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        rowScale[i] = loadEarly(rows + i * 8);
        colScale[i] = loadEarly(cols + i * pieces);
    }
}

template <int kOffset>
__device__ __forceinline__ float loadShared(uint32_t from) {
    float v;
    asm volatile("ld.shared.f32 %0, [%1 + %2];" : "=f"(v) : "r"(from), "n"(kOffset));
    return v;
}

template <int kOffset>
__device__ __forceinline__ float2 loadShared2(uint32_t from) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2 + %3];" : "=f"(v.x), "=f"(v.y) : "r"(from), "n"(kOffset));
    return v;
}

// sums += part * factors, a block of 8 columns after the other, of which a thread has two in two rows. Factors of columns are
// read four blocks ahead: one at a time, each would be waited for.
template <int kBlock>
__device__ __forceinline__ void addScaledColumns(
    float* sums, const float (&part)[64], float2 (&ahead)[4], float upper, float lower, uint32_t colScales) {
    if constexpr (kBlock < 16) {
        float2 scale = ahead[kBlock % 4];
        if constexpr (kBlock + 4 < 16) {
            ahead[kBlock % 4] = loadShared2<(kBlock + 4) * 32>(colScales);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float product = part[kBlock * 4 + i] * (i < 2 ? upper : lower);
            sums[kBlock * 4 + i] = fmaf(product, i % 2 ? scale.y : scale.x, sums[kBlock * 4 + i]);
        }
        addScaledColumns<kBlock + 1>(sums, part, ahead, upper, lower, colScales);
    }
}

// The same with factors of this thread's rows and columns in shared memory.
__device__ __forceinline__ void multiplyStageScaled(
    float (&d)[128], uint32_t a, uint32_t b, uint32_t rowScales, uint32_t colScales) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float part[64];
        startHalf(part, a, b + half * 128 * kBoxRowBytes);
        uint32_t cols = colScales + half * 512;
        float upper = loadShared<0>(rowScales);
        float lower = loadShared<32>(rowScales);
        float2 ahead[4] = {loadShared2<0>(cols), loadShared2<32>(cols), loadShared2<64>(cols), loadShared2<96>(cols)};
        wgmmaWait<0>();
        addScaledColumns<0>(d + half * 64, part, ahead, upper, lower, cols);
    }
}

}  // namespace fourfold
