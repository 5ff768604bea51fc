// Two passes over a matrix in groups by one launch: first the largest magnitudes of a group, then its values. Warps take
// tiles from one counter. In its order the first pass of the next group lies before the second of a group, so a group no larger
// than the L2 cache comes from memory once, and a warp that waits for a group waits only for tiles that others hold: there
// is no deadlock whatever runs at the same time. The second pass of a group walks backwards, from what was read last.
//
// The counters are zero between launches; the block that leaves last clears them.
#pragma once

#include <cstdint>

#include "groups.cuh"
#include "nvfp4.cuh"

namespace fourfold {

constexpr int kMostGroups = 1024;

// In device memory, zero before the first launch.
struct QueueState {
    uint32_t taken;
    uint32_t left;  // blocks that have finished
    uint32_t done[kMostGroups];  // tiles of the first pass
    float amax[2][kMostGroups];  // of the operand by rows, by columns
};

struct Tile {
    bool second;  // the second pass
    RowSpan span;
    int block;     // number of its 16 rows among all groups' blocks
    int firstRow;  // within the group
    int strip;
};

struct TileQueue {
    QueueState* state;
    Groups groups;
    const int* before;  // shared, [count + 1]: blocks of 16 rows before each group
    int strip;   // columns of a tile, a multiple of 128
    int strips;  // tiles beside one another
    int ahead;   // groups by which the first pass leads
    bool given;  // amax is known, there is no first pass
};

__device__ __forceinline__ int groupRows(const Groups& groups, int g) {
    return groups.offsets == nullptr ? groups.rows : __ldg(groups.offsets + g + 1) - __ldg(groups.offsets + g);
}

// Fills before[0 .. count]; 256 threads, all take part. padded: 16 times that, for the products; may be null.
__device__ __forceinline__ void countBlocks(const Groups& groups, int* before, int* __restrict__ padded) {
    constexpr int kEach = kMostGroups / 256;
    __shared__ int sums[8];
    int lane = threadIdx.x % 32;
    int warp = threadIdx.x / 32;
    int own[kEach];
    int sum = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        int g = threadIdx.x * kEach + i;
        own[i] = g < groups.count ? (groupRows(groups, g) + 15) / 16 : 0;
        sum += own[i];
    }
    int running = sum;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        int other = __shfl_up_sync(0xffffffffu, running, distance);
        running += lane >= distance ? other : 0;
    }
    if (lane == 31) {
        sums[warp] = running;
    }
    __syncthreads();
    running -= sum;
    for (int w = 0; w < warp; ++w) {
        running += sums[w];
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        int g = threadIdx.x * kEach + i;
        if (g <= groups.count) {
            before[g] = running;
            if (padded != nullptr && blockIdx.x == 0) {
                padded[g] = running * 16;
            }
        }
        running += own[i];
    }
    if (groups.count == kMostGroups && threadIdx.x == 255) {
        before[kMostGroups] = running;
        if (padded != nullptr && blockIdx.x == 0) {
            padded[kMostGroups] = running * 16;
        }
    }
    __syncthreads();
}

__device__ __forceinline__ int tilesOf(const TileQueue& queue, int g) {
    return (queue.before[g + 1] - queue.before[g]) * queue.strips;
}

// Where segment s begins: the first pass of group s, then the second of group s - ahead. One pass only: group s.
__device__ __forceinline__ int segmentStart(const TileQueue& queue, int s) {
    int first = queue.before[min(s, queue.groups.count)];
    return (queue.given ? first : first + queue.before[max(s - queue.ahead, 0)]) * queue.strips;
}

// Lane 0 takes the number of a tile. A warp takes its next one before it works on the present one, so that nobody waits for
// the counter: a tile waits only for tiles of lower numbers, and a warp works in the order of the numbers.
__device__ __forceinline__ int takeNumber(const TileQueue& queue) {
    return threadIdx.x % 32 == 0 ? static_cast<int>(atomicAdd(&queue.state->taken, 1)) : 0;
}

// The tile of a number that lane 0 has; false behind the last. All lanes of the warp get the same.
__device__ __forceinline__ bool tileOf(const TileQueue& queue, int number, Tile& tile) {
    int n = __shfl_sync(0xffffffffu, number, 0);
    int count = queue.groups.count;
    if (n >= queue.before[count] * queue.strips * (queue.given ? 1 : 2)) {
        return false;
    }
    int low = 0;
    int high = count + queue.ahead;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (segmentStart(queue, middle) <= n) {
            low = middle;
        } else {
            high = middle;
        }
    }
    int unit = n - segmentStart(queue, low);
    int group = low;
    int inFirst = low < count ? tilesOf(queue, low) : 0;
    tile.second = queue.given || unit >= inFirst;
    if (!queue.given && unit >= inFirst) {
        group = low - queue.ahead;
        unit = tilesOf(queue, group) - 1 - (unit - inFirst);
    }
    int block = unit / queue.strips;
    tile.strip = unit - block * queue.strips;
    tile.block = queue.before[group] + block;
    tile.firstRow = block * 16;
    tile.span.group = group;
    if (queue.groups.offsets == nullptr) {
        tile.span.begin = group * queue.groups.rows;
        tile.span.end = tile.span.begin + queue.groups.rows;
    } else {
        tile.span.begin = __ldg(queue.groups.offsets + group);
        tile.span.end = __ldg(queue.groups.offsets + group + 1);
    }
    return true;
}

// Raises an amax to the largest magnitude of the warp; nothing waits for it.
__device__ __forceinline__ void raiseAmax(uint32_t bits, float* amax) {
    bits = __reduce_max_sync(0xffffffffu, bits);
    if (threadIdx.x % 32 == 0) {
        atomicMax(reinterpret_cast<uint32_t*>(amax), bits);
    }
}

// A tile of the first pass is done: the warp's amax is written.
__device__ __forceinline__ void finishFirst(const TileQueue& queue, int group) {
    if (threadIdx.x % 32 == 0) {
        __threadfence();
        atomicAdd(&queue.state->done[group], 1);
    }
}

// Waits until the first pass of a group is done.
__device__ __forceinline__ void awaitFirst(const TileQueue& queue, int group) {
    if (!queue.given && threadIdx.x % 32 == 0) {
        uint32_t wanted = tilesOf(queue, group);
        uint32_t found;
        while (true) {
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(found) : "l"(&queue.state->done[group]) : "memory");
            if (found == wanted) {
                break;
            }
            __nanosleep(100);
        }
    }
    __syncwarp();
}

// Called by all threads when their warps find no more tiles. The last block writes the tensor scales amax / 2688 and clears
// the counters. amaxRows: of the operand by rows, where it is not in the state; else null.
__device__ __forceinline__ void leave(
    const TileQueue& queue, float* scaleRows, float* scaleColumns, const float* amaxRows = nullptr) {
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(&queue.state->left, 1) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (!last) {
        return;
    }
    for (int g = threadIdx.x; g < queue.groups.count; g += blockDim.x) {
        scaleRows[g] = __fmul_rn(__ldcg(amaxRows == nullptr ? &queue.state->amax[0][g] : amaxRows + g), 1.0f / 2688.0f);
        scaleColumns[g] = __fmul_rn(__ldcg(&queue.state->amax[1][g]), 1.0f / 2688.0f);
        queue.state->amax[0][g] = 0.f;
        queue.state->amax[1][g] = 0.f;
        queue.state->done[g] = 0;
    }
    if (threadIdx.x == 0) {
        queue.state->taken = 0;
        queue.state->left = 0;
    }
}

}  // namespace fourfold
