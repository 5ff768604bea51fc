// Cross-entropy over a vocabulary that is split over ranks: each rank has FP32 logits [m, V] of its own entries
// first .. first + V - 1 of `total`. With sums over the whole vocabulary,
//
//   M = max_v z_v;   S = sum_v exp(z_v - M);   loss = (M - z_label) + log S;   dz_v = gradScale (exp(z_v - M) / S - [v = label])
//
// in three launches with an exchange after each of the first two:
//
//   split_statistics   M and S of the own entries, and the label's logit or 0     exchange: the largest M
//   split_rescale      the own S relative to the largest M                         exchange: sums of S and of label logits
//   split_gradient     the loss, and the gradient of the own entries
//
// label -1: loss 0, gradient 0. A label outside -1 .. total - 1 stops the kernel with a trap. dz null = loss only; it may
// alias the logits when FP32.

#include "ops/max_sum.cuh"

namespace fourfold {

constexpr int kThreads = 1024;

// Place of this block's label among the own entries: negative, or not below their number, when another rank has it.
__device__ __forceinline__ int ownLabel(const int* labels, int first, int total) {
    int label = labels[blockIdx.x];
    if (label < -1 || label >= total) {
        __trap();
    }
    return label < 0 ? -1 : label - first;
}

template <class G>
__device__ __forceinline__ void splitGradient(
    const float* logits, const int* labels, int vocabulary, int first, int total, int tokens, const float* largest,
    const float* sums, float gradScale, float* loss, G* gradient) {
    long at = long(blockIdx.x) * vocabulary;
    bool counted = labels[blockIdx.x] >= 0;
    int label = ownLabel(labels, first, total);
    float top = largest[blockIdx.x], sum = sums[blockIdx.x];
    if (threadIdx.x == 0) {
        loss[blockIdx.x] = counted ? (top - sums[tokens + blockIdx.x]) + logf(sum) : 0.f;
    }
    if (gradient == nullptr) {
        return;
    }
    bool wide = aligned(logits, vocabulary), wideG = aligned(gradient, vocabulary);
    float factor = gradScale / sum;
#pragma unroll 2
    for (int v = threadIdx.x * kVector; v < vocabulary; v += kThreads * kVector) {
        float z[kVector] = {};
        if (counted) {
            load8(logits + at + v, vocabulary - v, wide, z);
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                float e = expf(z[i] - top);
                z[i] = v + i == label ? gradScale * (e / sum - 1.f) : e * factor;
            }
        }
        store8(gradient + at + v, vocabulary - v, wideG, z);
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// Grid: m, block 1024. own, largest [m]: M twice, the second one to be exchanged. sums [2, m]: S, then the label's logits.
extern "C" __global__ void __launch_bounds__(1024) split_statistics(
    const float* __restrict__ logits, const int* __restrict__ labels, int vocabulary, int first, int total, int tokens,
    float* __restrict__ own, float* __restrict__ largest, float* __restrict__ sums) {
    const float* row = logits + long(blockIdx.x) * vocabulary;
    int label = ownLabel(labels, first, total);
    MaxSum all = maxSumOfRow<kThreads>(row, vocabulary, aligned(logits, vocabulary));
    if (threadIdx.x == 0) {
        own[blockIdx.x] = all.largest;
        largest[blockIdx.x] = all.largest;
        sums[blockIdx.x] = all.sum;
        sums[tokens + blockIdx.x] = label >= 0 && label < vocabulary ? row[label] : 0.f;
    }
}

// Grid: ceil(m / 256), block 256.
extern "C" __global__ void __launch_bounds__(256) split_rescale(
    const float* __restrict__ own, const float* __restrict__ largest, int tokens, float* __restrict__ sums) {
    int token = blockIdx.x * 256 + threadIdx.x;
    if (token < tokens && own[token] != largest[token]) {
        sums[token] *= expf(own[token] - largest[token]);
    }
}

// Grid: m, block 1024. largest, sums: of the whole vocabulary.
#define FOURFOLD_SPLIT_GRADIENT(suffix, G)                                                                              \
    extern "C" __global__ void __launch_bounds__(1024) split_gradient_##suffix(                                        \
        const float* logits, const int* __restrict__ labels, int vocabulary, int first, int total, int tokens,         \
        const float* __restrict__ largest, const float* __restrict__ sums, float gradScale, float* __restrict__ loss,  \
        G* gradient) {                                                                                                 \
        splitGradient(logits, labels, vocabulary, first, total, tokens, largest, sums, gradScale, loss, gradient);     \
    }
FOURFOLD_TYPES1(FOURFOLD_SPLIT_GRADIENT)
