// Tokens that travel once to each rank that holds some of their experts.
//
//   ranks_of_slots   ranks[t*k + j] = experts[t*k + j] / expertsPerRank where no earlier slot of the token has that rank,
//                    else -1; counts [ranks, 2]: tokens and slots for each rank (integer atomics, so in any order)
//   pack_routing     row r of a token t = slotOfRow[r] / k: its k experts, the bits of its k weights, its row id
//   unpack_routing   the same as the receiving rank sees it: experts counted from its first one, -1 where not its own
//   part_of_slots    begins[e] .. ends[e]: the rows of expert e whose slots are from .. to; they ascend within an expert
//
// One thread per token, row or expert. An expert beyond the last rank stops the kernel with a trap.

#include "ops/vector.cuh"

namespace fourfold {

// First row in [low, high) whose slot is at least x, or high.
__device__ __forceinline__ int firstRow(const int* slotOfRow, int low, int high, int x) {
    while (low < high) {
        int middle = (low + high) / 2;
        if (slotOfRow[middle] < x) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

}  // namespace fourfold

extern "C" __global__ void __launch_bounds__(256) ranks_of_slots(
    const int* experts, int tokens, int k, int expertsPerRank, int rankCount, int* ranks, int* counts) {
    extern __shared__ int tally[];  // [ranks, 2]
    for (int i = threadIdx.x; i < 2 * rankCount; i += blockDim.x) {
        tally[i] = 0;
    }
    __syncthreads();
    int token = blockIdx.x * blockDim.x + threadIdx.x;
    if (token < tokens) {
        const int* mine = experts + long(token) * k;
        for (int j = 0; j < k; ++j) {
            int expert = mine[j];
            int rank = expert < 0 ? -1 : expert / expertsPerRank;
            if (expert < -1 || rank >= rankCount) {
                __trap();
            }
            bool first = rank >= 0;
            for (int i = 0; first && i < j; ++i) {
                first = mine[i] < 0 || mine[i] / expertsPerRank != rank;
            }
            ranks[long(token) * k + j] = first ? rank : -1;
            if (rank >= 0) {
                atomicAdd(tally + 2 * rank + 1, 1);
            }
            if (first) {
                atomicAdd(tally + 2 * rank, 1);
            }
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * rankCount; i += blockDim.x) {
        if (tally[i] != 0) {
            atomicAdd(counts + i, tally[i]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) part_of_slots(
    const int* offsets, const int* slotOfRow, int experts, int from, int to, int* begins, int* ends) {
    int expert = blockIdx.x * blockDim.x + threadIdx.x;
    if (expert >= experts) {
        return;
    }
    int low = offsets[expert], high = offsets[expert + 1];
    begins[expert] = fourfold::firstRow(slotOfRow, low, high, from);
    ends[expert] = fourfold::firstRow(slotOfRow, low, high, to);
}

extern "C" __global__ void __launch_bounds__(256) pack_routing(
    const int* experts, const float* weights, const int* rowIds, const int* slotOfRow, int rows, int k, int* packed) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) {
        return;
    }
    long token = slotOfRow[row] / k;
    int* to = packed + long(row) * (2 * k + 1);
    for (int j = 0; j < k; ++j) {
        to[j] = experts[token * k + j];
        to[k + j] = __float_as_int(weights[token * k + j]);
    }
    to[2 * k] = rowIds[token];
}

extern "C" __global__ void __launch_bounds__(256) unpack_routing(
    const int* packed, int rows, int k, int firstExpert, int localExperts, int* experts, float* weights, int* rowIds) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) {
        return;
    }
    const int* from = packed + long(row) * (2 * k + 1);
    for (int j = 0; j < k; ++j) {
        int local = from[j] - firstExpert;
        experts[long(row) * k + j] = from[j] >= 0 && local >= 0 && local < localExperts ? local : -1;
        weights[long(row) * k + j] = __int_as_float(from[k + j]);
    }
    rowIds[row] = from[2 * k];
}
