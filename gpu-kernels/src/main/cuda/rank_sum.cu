// A sum over the ranks of a group whose addends have been exchanged, for one owner: element i of every rank's part, added in
// rank order in FP32 and rounded once when stored.
//
//   out[i] = sum over r of (r == rank ? own[i] : received[slot(r) * stride + i]),  slot(r) = r < rank ? r : r - 1
//
// The first addend is taken as it is, so the bits are those of a plain loop over the ranks, minus zeros included. out may be
// own, or received of two ranks. One thread per eight elements, which it reads before it writes.

#include "ops/vector.cuh"

namespace fourfold {

template <class T>
__device__ __forceinline__ void rankSum(const T* own, const T* received, T* out, long n, long stride, int ranks,
                                        int rank) {
    long at = (long(blockIdx.x) * blockDim.x + threadIdx.x) * kVector;
    if (at >= n) {
        return;
    }
    float sum[kVector];
    for (int r = 0; r < ranks; ++r) {
        const T* addend = r == rank ? own : received + (r < rank ? r : r - 1) * stride;
        float v[kVector];
        load8(addend + at, n - at, aligned(addend), v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            sum[i] = r == 0 ? v[i] : __fadd_rn(sum[i], v[i]);
        }
    }
    store8(out + at, n - at, aligned(out), sum);
}

}  // namespace fourfold

// ---- kernels ----

#define RANK_SUM(suffix, T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                              \
        rank_sum_##suffix(const T* own, const T* received, T* out, long n, long stride, int ranks, int rank) {     \
        fourfold::rankSum(own, received, out, n, stride, ranks, rank);                                             \
    }
FOURFOLD_TYPES1(RANK_SUM)
