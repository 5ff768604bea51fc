// AdamW (arXiv:1711.05101) over flat FP32 buffers and the squared norm of a tensor.
//
//   g = grad * gradScale;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g g
//   w -= lr * ( (m / c1) / (sqrt(v / c2) + eps) + wd * w ),  c1 = 1 - b1^t, c2 = 1 - b2^t
//
// Each operation is rounded on its own (no contraction), in the order of the CPU oracle: the results are bit-equal.
// Split weights (ops/split.cuh) are joined, updated and split again. 28 bytes move per parameter either way.
// Squares are summed in FP64: per thread, warp and block, then over blocks in order.
//
// adamw_amax also raises amax[s] to the largest magnitude of the updated weights of segment s, elements starts[s] up to
// starts[s + 1], so that quantizing them needs no pass for it. starts[0] = 0, starts[segments] = n.

#include "ops/split.cuh"
#include "quantize/amax.cuh"

namespace fourfold {

struct AdamW {
    float gradScale, b1, b2, d1, d2, c1, c2, eps, lr, decay;
};

__device__ __forceinline__ void update(const AdamW& a, float grad, float& w, float& m, float& v) {
    float g = __fmul_rn(grad, a.gradScale);
    m = __fadd_rn(__fmul_rn(a.b1, m), __fmul_rn(a.d1, g));
    v = __fadd_rn(__fmul_rn(a.b2, v), __fmul_rn(__fmul_rn(a.d2, g), g));
    float denominator = __fadd_rn(__fsqrt_rn(__fdiv_rn(v, a.c2)), a.eps);
    float step = __fadd_rn(__fdiv_rn(__fdiv_rn(m, a.c1), denominator), __fmul_rn(a.decay, w));
    w = __fsub_rn(w, __fmul_rn(a.lr, step));
}

__device__ __forceinline__ void update(const AdamW& a, const float4& g, float4& w, float4& m, float4& v) {
    update(a, g.x, w.x, m.x, v.x);
    update(a, g.y, w.y, m.y, v.y);
    update(a, g.z, w.z, m.z, v.z);
    update(a, g.w, w.w, m.w, v.w);
}

constexpr int kUpdateThreads = 256;  // H200: 3.7 TB/s, with 1024 threads 3.4; H100: 3.0 with either
constexpr int kNormThreads = 512;

// Elements at .. at + 3 of those that exist; w: the updated weights, zero for the others.
__device__ __forceinline__ void updateFour(
    const AdamW& a, float* weight, const float* grad, float* moment1, float* moment2, long n, long at, float4& w) {
    w = make_float4(0.f, 0.f, 0.f, 0.f);
    bool wide = aligned(weight) && aligned(grad) && aligned(moment1) && aligned(moment2);
    if (wide && at + 4 <= n) {
        float4 g = *reinterpret_cast<const float4*>(grad + at);
        w = *reinterpret_cast<float4*>(weight + at);
        float4 m = *reinterpret_cast<float4*>(moment1 + at);
        float4 v = *reinterpret_cast<float4*>(moment2 + at);
        update(a, g, w, m, v);
        *reinterpret_cast<float4*>(weight + at) = w;
        *reinterpret_cast<float4*>(moment1 + at) = m;
        *reinterpret_cast<float4*>(moment2 + at) = v;
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (at + i < n) {
                update(a, grad[at + i], weight[at + i], moment1[at + i], moment2[at + i]);
                (i == 0 ? w.x : i == 1 ? w.y : i == 2 ? w.z : w.w) = weight[at + i];
            }
        }
    }
}

// The segment of an element, by all lanes of a warp at once: 32 pivots a step.
__device__ __forceinline__ int segmentOf(const long* starts, int segments, long element) {
    int low = 0, high = segments;  // starts[low] <= element < starts[high]
    while (high - low > 1) {
        int step = (high - low + kWarp - 1) / kWarp;
        int pivot = low + (int(threadIdx.x) % kWarp + 1) * step;
        int passed = __popc(__ballot_sync(kAllLanes, pivot < high && __ldg(starts + pivot) <= element));
        low += passed * step;
        high = min(high, low + step);
    }
    return low;
}

// w: four elements of each thread from `first` on. One maximum a block where its elements are of one segment.
__device__ __forceinline__ void recordBlockAmax(
    const float4& w, long n, long first, const long* starts, int segments, float* amax) {
    __shared__ uint32_t largest[kUpdateThreads / kWarp];
    uint32_t bits = max(max(magnitudeBits(w.x), magnitudeBits(w.y)), max(magnitudeBits(w.z), magnitudeBits(w.w)));
    int segment = segmentOf(starts, segments, first);
    if (__ldg(starts + segment + 1) >= min(n, first + kUpdateThreads * 4)) {
        bits = __reduce_max_sync(kAllLanes, bits);
        largest[threadIdx.x / kWarp] = bits;
        __syncthreads();
        if (threadIdx.x < kWarp) {
            recordAmax(threadIdx.x < kUpdateThreads / kWarp ? largest[threadIdx.x] : 0, amax + segment);
        }
        return;
    }
    long at = first + threadIdx.x * 4;
    const float own[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (at + i < n) {
            while (__ldg(starts + segment + 1) <= at + i) {
                ++segment;
            }
            atomicMax(reinterpret_cast<uint32_t*>(amax + segment), min(magnitudeBits(own[i]), 0x7F800000u));
        }
    }
}

__device__ __forceinline__ double blockSum(double sum) {
    __shared__ double warps[kNormThreads / kWarp];
    sum = groupSum(sum);
    if (threadIdx.x % kWarp == 0) {
        warps[threadIdx.x / kWarp] = sum;
    }
    __syncthreads();
    sum = 0;
    for (int i = 0; i < kNormThreads / kWarp; ++i) {
        sum += warps[i];
    }
    return sum;
}

template <class T>
__device__ __forceinline__ void squaredNorm(const T* values, long n, double* partial) {
    long stride = long(gridDim.x) * kNormThreads * kVector;
    bool wide = aligned(values);
    double sums[2] = {};
#pragma unroll 2
    for (long at = (long(blockIdx.x) * kNormThreads + threadIdx.x) * kVector; at < n; at += stride) {
        float v[kVector];
        load8(values + at, n - at, wide, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            double x = v[i];
            sums[i % 2] += x * x;
        }
    }
    double sum = blockSum(sums[0] + sums[1]);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

// bounds [pieces][2]: elements of each piece, one block a piece.
template <class T>
__device__ __forceinline__ void squaredNormPieces(const T* values, const long2* bounds, double* partial) {
    long2 piece = bounds[blockIdx.x];
    const T* from = values + piece.x;
    long n = piece.y - piece.x;
    bool wide = aligned(from);
    double sums[2] = {};
#pragma unroll 4
    for (long at = long(threadIdx.x) * kVector; at < n; at += kNormThreads * kVector) {
        float v[kVector];
        load8(from + at, n - at, wide, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            double x = v[i];
            sums[i % 2] += x * x;
        }
    }
    double sum = blockSum(sums[0] + sums[1]);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

}  // namespace fourfold

using namespace fourfold;

extern "C" __global__ void __launch_bounds__(kUpdateThreads) adamw(
    float* weight, const float* grad, float* moment1, float* moment2, long n, float gradScale, float b1, float b2, float c1, float c2,
    float eps, float lr, float decay) {
    AdamW a = {gradScale, b1, b2, __fsub_rn(1.f, b1), __fsub_rn(1.f, b2), c1, c2, eps, lr, decay};
    float4 unused;
    updateFour(a, weight, grad, moment1, moment2, n, (long(blockIdx.x) * kUpdateThreads + threadIdx.x) * 4, unused);
}

extern "C" __global__ void __launch_bounds__(kUpdateThreads) adamw_amax(
    float* weight, const float* grad, float* moment1, float* moment2, long n, float gradScale, float b1, float b2, float c1, float c2,
    float eps, float lr, float decay, const long* starts, int segments, float* amax) {
    AdamW a = {gradScale, b1, b2, __fsub_rn(1.f, b1), __fsub_rn(1.f, b2), c1, c2, eps, lr, decay};
    long first = long(blockIdx.x) * kUpdateThreads * 4;
    float4 w;
    updateFour(a, weight, grad, moment1, moment2, n, first + threadIdx.x * 4, w);
    recordBlockAmax(w, n, first, starts, segments, amax);
}

// Weights split into BF16 heads and remainders.
extern "C" __global__ void __launch_bounds__(kUpdateThreads) adamw_split(
    uint16_t* head, int16_t* remainder, const float* grad, float* moment1, float* moment2, long n, float gradScale, float b1,
    float b2, float c1, float c2, float eps, float lr, float decay) {
    AdamW a = {gradScale, b1, b2, __fsub_rn(1.f, b1), __fsub_rn(1.f, b2), c1, c2, eps, lr, decay};
    long at = (long(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    bool wide = aligned(grad) && aligned(moment1) && aligned(moment2) &&
                ((reinterpret_cast<uintptr_t>(head) | reinterpret_cast<uintptr_t>(remainder)) & 7) == 0;
    if (wide && at + 4 <= n) {
        float4 g = *reinterpret_cast<const float4*>(grad + at);
        uint2 h = *reinterpret_cast<uint2*>(head + at);
        uint2 r = *reinterpret_cast<uint2*>(remainder + at);
        float4 m = *reinterpret_cast<float4*>(moment1 + at);
        float4 v = *reinterpret_cast<float4*>(moment2 + at);
        float4 w;
        joinPair(h.x, r.x, w.x, w.y);
        joinPair(h.y, r.y, w.z, w.w);
        update(a, g, w, m, v);
        splitPair(w.x, w.y, h.x, r.x);
        splitPair(w.z, w.w, h.y, r.y);
        *reinterpret_cast<uint2*>(head + at) = h;
        *reinterpret_cast<uint2*>(remainder + at) = r;
        *reinterpret_cast<float4*>(moment1 + at) = m;
        *reinterpret_cast<float4*>(moment2 + at) = v;
    } else {
        for (int i = 0; i < 4 && at + i < n; ++i) {
            float w = joined(head[at + i], remainder[at + i]);
            update(a, grad[at + i], w, moment1[at + i], moment2[at + i]);
            split(w, head + at + i, remainder + at + i);
        }
    }
}

extern "C" __global__ void __launch_bounds__(kNormThreads) squared_norm_fp32(const float* x, long n, double* partial) {
    squaredNorm(x, n, partial);
}

extern "C" __global__ void __launch_bounds__(kNormThreads) squared_norm_bf16(const bf16* x, long n, double* partial) {
    squaredNorm(x, n, partial);
}

// out[0] += sum of the partials; one block.
extern "C" __global__ void __launch_bounds__(kNormThreads) add_sum_fp64(const double* partial, int count, float* out) {
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += kNormThreads) {
        sum += partial[i];
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        out[0] += static_cast<float>(sum);
    }
}

extern "C" __global__ void __launch_bounds__(kNormThreads)
    squared_norm_pieces_fp32(const float* x, const long2* bounds, double* partial) {
    squaredNormPieces(x, bounds, partial);
}

extern "C" __global__ void __launch_bounds__(kNormThreads)
    squared_norm_pieces_bf16(const bf16* x, const long2* bounds, double* partial) {
    squaredNormPieces(x, bounds, partial);
}

// out[g] = sum of the count parts of group g; one block a group.
extern "C" __global__ void __launch_bounds__(kNormThreads) sum_parts(const float* part, int count, float* out) {
    const float* from = part + long(blockIdx.x) * count;
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += kNormThreads) {
        sum += from[i];
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        out[blockIdx.x] = static_cast<float>(sum);
    }
}

// out[s] += sum of the partials of segment s; one block a segment.
extern "C" __global__ void __launch_bounds__(kNormThreads)
    add_piece_sums(const double* partial, const int* first, float* out) {
    double sum = 0;
    for (int i = first[blockIdx.x] + threadIdx.x; i < first[blockIdx.x + 1]; i += kNormThreads) {
        sum += partial[i];
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        out[blockIdx.x] += static_cast<float>(sum);
    }
}
