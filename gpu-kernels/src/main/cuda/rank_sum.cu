// A sum over the ranks of a group whose addends have been exchanged, for one owner: element i of every rank's part, added in
// rank order in FP32 and rounded once when stored.
//
//   out[i] = sum over r of (r == rank ? own[i] : received[slot(r) * stride + i]),  slot(r) = r < rank ? r : r - 1
//
// The first addend is taken as it is, so the bits are those of a plain loop over the ranks, minus zeros included. out may be
// own. rank_sum_of takes addends that lie anywhere, out among them:
//
//   out[i] = sum over r of places[r][i]
//
// One thread per eight elements, which it reads before it writes.

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

constexpr int kMostPlaces = 8;

template <class T>
struct Places {
    const T* of[kMostPlaces];
};

template <class T>
__device__ __forceinline__ void rankSumOf(const Places<T>& places, T* out, long n, int ranks) {
    long at = (long(blockIdx.x) * blockDim.x + threadIdx.x) * kVector;
    if (at >= n) {
        return;
    }
    float sum[kVector];
    load8(places.of[0] + at, n - at, aligned(places.of[0]), sum);
#pragma unroll
    for (int r = 1; r < kMostPlaces; ++r) {
        if (r < ranks) {
            float v[kVector];
            load8(places.of[r] + at, n - at, aligned(places.of[r]), v);
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                sum[i] = __fadd_rn(sum[i], v[i]);
            }
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

#define RANK_SUM_OF(suffix, T)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                              \
        rank_sum_of_##suffix(const T* p0, const T* p1, const T* p2, const T* p3, const T* p4, const T* p5,           \
                             const T* p6, const T* p7, T* out, long n, int ranks) {                                  \
        fourfold::Places<T> places = {{p0, p1, p2, p3, p4, p5, p6, p7}};                                             \
        fourfold::rankSumOf(places, out, n, ranks);                                                                  \
    }
FOURFOLD_TYPES1(RANK_SUM_OF)
