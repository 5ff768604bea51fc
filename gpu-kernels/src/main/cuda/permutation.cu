// Stable counting sort of slots by a small key (expert, or digits of a token number), without comparing:
//
//   count_keys   counts[key, chunk]: keys of each chunk of 1024 slots; integer atomics, so in any order
//   scan_chunks  counts become exclusive prefix sums over the chunks of each key; totals[key]; one warp per key
//   place_slots  offsets (block 0), and for each slot its row: offset of the key + earlier chunks + earlier slots of the
//                chunk, found by warp votes and per-warp histograms
//
// key of slot i = (keys[order[i]] >> shift) & mask, order null = identity; a negative value marks a dropped slot. bins up
// to 1024. A key outside -1 .. bins-1 stops the kernel with a trap. capacity > 0 pads every key to that many rows.
// Two passes with order sort the tokens of an embedding table's gradient (radix 1024).

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kChunk = 1024;
constexpr int kWarps = kChunk / kWarp;

__device__ __forceinline__ int keyAt(const int* keys, const int* order, int slot, int n, int shift, int mask, int bins) {
    if (slot >= n) {
        return -1;
    }
    int value = keys[order == nullptr ? slot : order[slot]];
    if (value < -1) {
        __trap();
    }
    int key = value < 0 ? -1 : value >> shift & mask;
    if (key >= bins) {
        __trap();
    }
    return key;
}

// First index in [from, to) of an ascending array whose value is above x, minus one.
__device__ __forceinline__ int segmentOf(const int* starts, int count, int x) {
    int low = 0, high = count;  // starts[low] <= x < starts[high]
    while (high - low > 1) {
        int middle = (low + high) / 2;
        (starts[middle] <= x ? low : high) = middle;
    }
    return low;
}

}  // namespace fourfold

using namespace fourfold;

extern "C" __global__ void __launch_bounds__(kChunk) count_keys(
    const int* keys, const int* order, int n, int shift, int mask, int bins, int* counts) {
    extern __shared__ int histogram[];
    for (int b = threadIdx.x; b < bins; b += kChunk) {
        histogram[b] = 0;
    }
    __syncthreads();
    int key = keyAt(keys, order, blockIdx.x * kChunk + threadIdx.x, n, shift, mask, bins);
    if (key >= 0) {
        atomicAdd(histogram + key, 1);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < bins; b += kChunk) {
        counts[long(b) * gridDim.x + blockIdx.x] = histogram[b];
    }
}

extern "C" __global__ void __launch_bounds__(256) scan_chunks(int* counts, int chunks, int bins, int* totals) {
    int key = blockIdx.x * 8 + threadIdx.x / kWarp;
    int lane = threadIdx.x % kWarp;
    if (key >= bins) {
        return;
    }
    int* row = counts + long(key) * chunks;
    int before = 0;
    for (int first = 0; first < chunks; first += kWarp) {
        int count = first + lane < chunks ? row[first + lane] : 0;
        int sum = count;
#pragma unroll
        for (int step = 1; step < kWarp; step *= 2) {
            int other = __shfl_up_sync(kAllLanes, sum, step);
            sum += lane >= step ? other : 0;
        }
        if (first + lane < chunks) {
            row[first + lane] = before + sum - count;
        }
        before += __shfl_sync(kAllLanes, sum, kWarp - 1);
    }
    if (lane == 0) {
        totals[key] = before;
    }
}

// rowOfSlot may be null. slotOfRow must hold -1 everywhere. The slot number stored is order[slot].
extern "C" __global__ void __launch_bounds__(kChunk) place_slots(
    const int* keys, const int* order, int n, int shift, int mask, int bins, const int* counts, const int* totals,
    int capacity, int* offsets, int* rowOfSlot, int* slotOfRow) {
    extern __shared__ int shared[];
    int* starts = shared;                // [1024]
    int* histograms = shared + kChunk;   // [warps, bins]
    __shared__ int warpTotals[kWarps];
    int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    // Exclusive prefix sum of the totals; bins <= threads.
    int total = int(threadIdx.x) < bins ? totals[threadIdx.x] : 0;
    if (capacity > 0) {
        if (total > capacity) {
            __trap();
        }
        total = int(threadIdx.x) < bins ? capacity : 0;
    }
    int sum = total;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
        int other = __shfl_up_sync(kAllLanes, sum, step);
        sum += lane >= step ? other : 0;
    }
    if (lane == kWarp - 1) {
        warpTotals[warp] = sum;
    }
    for (int i = threadIdx.x; i < kWarps * bins; i += kChunk) {
        histograms[i] = 0;
    }
    __syncthreads();
    for (int w = 0; w < warp; ++w) {
        sum += warpTotals[w];
    }
    starts[threadIdx.x] = sum - total;
    if (blockIdx.x == 0 && offsets != nullptr) {
        if (int(threadIdx.x) < bins) {
            offsets[threadIdx.x + 1] = sum;
        }
        if (threadIdx.x == 0) {
            offsets[0] = 0;
        }
    }
    int slot = blockIdx.x * kChunk + threadIdx.x;
    int key = keyAt(keys, order, slot, n, shift, mask, bins);
    unsigned same = __match_any_sync(kAllLanes, key);
    int rank = __popc(same & ((1u << lane) - 1));
    if (key >= 0 && rank == 0) {
        histograms[warp * bins + key] = __popc(same);
    }
    __syncthreads();
    if (int(threadIdx.x) < bins) {
        int before = 0;
        for (int w = 0; w < kWarps; ++w) {
            int count = histograms[w * bins + threadIdx.x];
            histograms[w * bins + threadIdx.x] = before;
            before += count;
        }
    }
    __syncthreads();
    if (slot >= n) {
        return;
    }
    int row = -1;
    if (key >= 0) {
        row = starts[key] + counts[long(key) * gridDim.x + blockIdx.x] + histograms[warp * bins + key] + rank;
        slotOfRow[row] = order == nullptr ? slot : order[slot];
    }
    if (rowOfSlot != nullptr) {
        rowOfSlot[slot] = row;
    }
}

// counts [bins] must be zero.
extern "C" __global__ void __launch_bounds__(256) count_experts(const int* experts, int n, int bins, int* counts) {
    extern __shared__ int histogram[];
    for (int b = threadIdx.x; b < bins; b += blockDim.x) {
        histogram[b] = 0;
    }
    __syncthreads();
    for (int slot = blockIdx.x * blockDim.x + threadIdx.x; slot < n; slot += gridDim.x * blockDim.x) {
        int expert = experts[slot];
        if (expert < -1 || expert >= bins) {
            __trap();
        }
        if (expert >= 0) {
            atomicAdd(histogram + expert, 1);
        }
    }
    __syncthreads();
    for (int b = threadIdx.x; b < bins; b += blockDim.x) {
        if (histogram[b] != 0) {
            atomicAdd(counts + b, histogram[b]);
        }
    }
}

// Rank of a slot among those of its expert and token group, by position or by descending priority (NaN first, then ties
// to the lower slot); kept while rank < capacity. offsets, rowOfSlot and slotOfRow sort the slots by expert. kept may
// alias experts. keptCounts [E] must be zero.
extern "C" __global__ void __launch_bounds__(256) drop_over_capacity(
    const int* experts, const float* priority, int n, int groupSlots, int capacity, const int* offsets,
    const int* rowOfSlot, const int* slotOfRow, int* kept, int* keptCounts) {
    int slot = blockIdx.x * blockDim.x + threadIdx.x;
    if (slot >= n) {
        return;
    }
    int expert = experts[slot];
    if (expert >= 0) {
        int begin = offsets[expert], end = offsets[expert + 1], row = rowOfSlot[slot];
        int firstSlot = slot / groupSlots * groupSlots;
        int low = begin, high = row;  // the first row of the group lies in [begin, row]
        while (low < high) {
            int middle = (low + high) / 2;
            if (slotOfRow[middle] < firstSlot) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        int rank = row - low;
        if (priority != nullptr) {
            auto key = [&](int s) {
                float x = priority[s] + 0.f;
                int bits = isnan(x) ? 0x7fc00000 : __float_as_int(x);
                return bits >= 0 ? bits : bits ^ 0x7fffffff;
            };
            int mine = key(slot);
            rank = 0;
            for (int r = low; r < end && slotOfRow[r] < firstSlot + groupSlots; ++r) {
                int other = key(slotOfRow[r]);
                rank += other > mine || (other == mine && r < row);
            }
        }
        if (rank < capacity) {
            atomicAdd(keptCounts + expert, 1);
        } else {
            expert = -1;
        }
    }
    kept[slot] = expert;
}

// Prefix sums of counts [sources, experts] in both orders; one block. rows: their total, as the caller knows it.
extern "C" __global__ void __launch_bounds__(1024) segment_starts(
    const int* counts, int sources, int experts, int rows, int* sourceStarts, int* targetStarts, int* offsets) {
    __shared__ int totals[1024];
    int n = sources * experts;
    int perThread = (n + 1023) / 1024;
    int from = min(int(threadIdx.x) * perThread, n), to = min(from + perThread, n);
    for (int order = 0; order < 2; ++order) {
        auto count = [&](int i) { return order == 0 ? counts[i] : counts[i % sources * experts + i / sources]; };
        int sum = 0;
        for (int i = from; i < to; ++i) {
            sum += count(i);
        }
        totals[threadIdx.x] = sum;
        __syncthreads();
        for (int step = 1; step < 1024; step *= 2) {
            int other = int(threadIdx.x) >= step ? totals[threadIdx.x - step] : 0;
            __syncthreads();
            totals[threadIdx.x] += other;
            __syncthreads();
        }
        int start = totals[threadIdx.x] - sum;
        int* starts = order == 0 ? sourceStarts : targetStarts;
        for (int i = from; i < to; ++i) {
            if (count(i) < 0) {
                __trap();
            }
            starts[i] = start;
            if (order == 1 && i % sources == 0) {
                offsets[i / sources] = start;
            }
            start += count(i);
        }
        if (threadIdx.x == 1023) {
            if (totals[1023] != rows) {
                __trap();
            }
            starts[n] = rows;
            offsets[experts] = rows;
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(256) transpose_segments(
    const int* sourceStarts, const int* targetStarts, int sources, int experts, int rows, int* sourceOfTarget, int* targetOfSource) {
    int target = blockIdx.x * blockDim.x + threadIdx.x;
    if (target < rows) {
        int segment = segmentOf(targetStarts, sources * experts, target);
        int source = sourceStarts[segment % sources * experts + segment / sources] + target - targetStarts[segment];
        sourceOfTarget[target] = source;
        targetOfSource[source] = target;
    }
}
