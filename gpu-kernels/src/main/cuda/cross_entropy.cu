// Softmax, loss and gradient of a chunk of FP32 logits [m, V]; one block of 1024 threads per token:
//
//   loss = log sum_v exp(z_v) - z_label;   dz_v = gradScale (softmax(z)_v - [v = label])
//
// First pass: maximum and sum together (online); second pass: the gradient in the type of the next products, one rounding.
// The second read of a row mostly hits the L2 cache. label -1: loss 0, gradient 0. Another label outside the vocabulary
// stops the kernel with a trap. dz null = loss only. dz may alias the logits when FP32.

#include "ops/max_sum.cuh"

namespace fourfold {

constexpr int kThreads = 1024;

template <class G>
__device__ __forceinline__ void crossEntropy(
    const float* logits, const int* labels, int vocabulary, float gradScale, float* loss, G* gradient) {
    long at = long(blockIdx.x) * vocabulary;
    const float* row = logits + at;
    int label = labels[blockIdx.x];
    bool wide = aligned(logits, vocabulary), wideG = aligned(gradient, vocabulary);
    constexpr int kStep = kThreads * kVector;
    if (label < -1 || label >= vocabulary) {
        __trap();
    }
    if (label < 0) {
        if (threadIdx.x == 0) {
            loss[blockIdx.x] = 0.f;
        }
        float zeros[kVector] = {};
        for (int v = threadIdx.x * kVector; gradient != nullptr && v < vocabulary; v += kStep) {
            store8(gradient + at + v, vocabulary - v, wideG, zeros);
        }
        return;
    }
    MaxSum all = maxSumOfRow<kThreads>(row, vocabulary, wide);
    float labelLogit = row[label];
    if (threadIdx.x == 0) {
        loss[blockIdx.x] = (all.largest - labelLogit) + logf(all.sum);
    }
    if (gradient == nullptr) {
        return;
    }
    __syncthreads();  // every thread has read the label's logit before an aliasing gradient is written
    float factor = gradScale / all.sum;
#pragma unroll 2
    for (int v = threadIdx.x * kVector; v < vocabulary; v += kStep) {
        float z[kVector];
        load8(row + v, vocabulary - v, wide, z);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            float e = expf(z[i] - all.largest);
            z[i] = v + i == label ? gradScale * (e / all.sum - 1.f) : e * factor;
        }
        store8(gradient + at + v, vocabulary - v, wideG, z);
    }
}

}  // namespace fourfold

using namespace fourfold;

#define CROSS_ENTROPY(S, G)                                                                                    \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                     \
        cross_entropy_##S(const float* logits, const int* labels, int vocabulary, float gradScale, float* loss, \
                          G* gradient) {                                                                       \
        crossEntropy(logits, labels, vocabulary, gradScale, loss, gradient);                                   \
    }
FOURFOLD_TYPES1(CROSS_ENTROPY)
