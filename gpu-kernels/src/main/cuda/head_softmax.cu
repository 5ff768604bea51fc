// What the loss and the gradients of an output head need beside its products, all per token t with label y and logits
// z = h w^T that are never stored. base[t] = z_y makes exp(z - base) safe for any loss below 55:
//
//   before:  base[t] = z_y (infinity for label -1);   e and sums by head_exponentials_sm90a
//   S        = sum over v of e[t, v];   loss = log S + (base - z_y);   factor[t] = gradScale / S
//   dz[t, v] = factor[t] (e[t, v] - [v = y] S)
//   after:   e[t, y] = 1 - S, and h' = factor h, so that   dw = e^T h'   and   dh = factor (e w)
//
// so no pass over the logits is left: e is written once and read by the two products. BF16 roundings: e (as dz would be), and
// of dw also h'. Where the sum exceeds 2^80 (a loss above 55: some logit is that far above the label's), the row's exponentials
// are computed again relative to the largest logit, slowly and with ordinary instructions; the result is as good as ever.
// label -1: loss 0, gradient 0. Another label outside the vocabulary stops the kernel with a trap.
//
// Alignment: h, w, h' 16 bytes, width a multiple of 8.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr float kLargestSum = 1.2089258e24f;  // 2^80

// Over the lanes of a warp, the same result in every lane.
__device__ __forceinline__ float warpDot(const bf16* x, const bf16* y, int width) {
    float sum = 0.f;
    for (int c = threadIdx.x % kWarp * kVector; c < width; c += kWarp * kVector) {
        float a[kVector], b[kVector];
        loadWide(x + c, a);
        loadWide(y + c, b);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            sum = fmaf(a[i], b[i], sum);
        }
    }
    return groupSum(sum);
}

// One value of each warp to all threads.
template <class Merge>
__device__ __forceinline__ float mergeWarps(float mine, Merge merge) {
    __shared__ float warps[kWarps];
    __syncthreads();
    if (threadIdx.x % kWarp == 0) {
        warps[threadIdx.x / kWarp] = mine;
    }
    __syncthreads();
    float all = warps[0];
    for (int i = 1; i < kWarps; ++i) {
        all = merge(all, warps[i]);
    }
    return all;
}

__device__ __forceinline__ float blockSum(float mine) {
    return mergeWarps(groupSum(mine), [](float a, float b) { return a + b; });
}

// The exponentials of one token relative to its largest logit, which is returned in base.
__device__ __noinline__ float recompute(const bf16* h, const bf16* w, int vocabulary, int width, bf16* e, float& base) {
    int warp = threadIdx.x / kWarp;
    float largest = -INFINITY;
    for (int v = warp; v < vocabulary; v += kWarps) {
        largest = fmaxf(largest, warpDot(h, w + long(v) * width, width));
    }
    largest = mergeWarps(largest, [](float a, float b) { return fmaxf(a, b); });
    float sum = 0.f;
    for (int v = warp; v < vocabulary; v += kWarps) {
        float x = expf(warpDot(h, w + long(v) * width, width) - largest);
        if (threadIdx.x % kWarp == 0) {
            sum += x;
            if (e != nullptr) {
                e[v] = __float2bfloat16_rn(x);
            }
        }
    }
    base = largest;
    return blockSum(sum);
}

}  // namespace fourfold

using namespace fourfold;

// One warp per token.
extern "C" __global__ void __launch_bounds__(kThreads) head_label_logits(
    const bf16* __restrict__ h, const bf16* __restrict__ w, const int* __restrict__ labels, int rows, int width,
    int vocabulary, float* __restrict__ labelLogits, float* __restrict__ base) {
    int t = (blockIdx.x * kThreads + threadIdx.x) / kWarp;
    if (t >= rows) {
        return;
    }
    int label = labels[t];
    if (label < -1 || label >= vocabulary) {
        __trap();
    }
    float z = label < 0 ? 0.f : warpDot(h + long(t) * width, w + long(label) * width, width);
    if (threadIdx.x % kWarp == 0) {
        labelLogits[t] = z;
        base[t] = label < 0 ? INFINITY : z;
    }
}

// One block per token. sums [colTiles, rows]; e and scaledH null = loss only.
extern "C" __global__ void __launch_bounds__(kThreads, 1) head_loss(
    const bf16* __restrict__ h, const bf16* __restrict__ w, const int* __restrict__ labels, int width, int vocabulary,
    const float* __restrict__ sums, int colTiles, const float* __restrict__ labelLogits, float gradScale,
    float* __restrict__ loss, float* __restrict__ factors, bf16* e, bf16* __restrict__ scaledH) {
    int t = blockIdx.x;
    int rows = gridDim.x;
    int label = labels[t];
    const bf16* row = h + long(t) * width;
    bf16* exponentials = e == nullptr ? nullptr : e + long(t) * vocabulary;
    float mine = 0.f;
    for (int c = threadIdx.x; c < colTiles; c += kThreads) {
        mine += sums[long(c) * rows + t];
    }
    float sum = blockSum(mine);
    float labelLogit = labelLogits[t];
    float base = labelLogit;
    if (label >= 0 && sum > kLargestSum) {
        sum = recompute(row, w, vocabulary, width, exponentials, base);
    }
    float factor = label < 0 ? 0.f : gradScale / sum;
    __syncthreads();  // the label's exponential is written last
    if (threadIdx.x == 0) {
        float l = label < 0 ? 0.f : (base - labelLogit) + logf(sum);
        loss[t] = l < 0.f ? 0.f : l;  // rounding of the sum; NaN stays
        if (e != nullptr) {
            factors[t] = factor;
            if (label >= 0) {
                exponentials[label] = __float2bfloat16_rn(expf(labelLogit - base) - sum);
            }
        }
    }
    if (scaledH == nullptr) {
        return;
    }
    for (int c = threadIdx.x * kVector; c < width; c += kThreads * kVector) {
        float v[kVector];
        loadWide(row + c, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            v[i] = label < 0 ? 0.f : v[i] * factor;
        }
        storeWide(scaledH + long(t) * width + c, v);
    }
}

// out[t, :] = factors[t] in[t, :]; one block per row.
template <class T>
__device__ __forceinline__ void scaleRow(const float* in, const float* factors, int width, T* out) {
    long at = long(blockIdx.x) * width;
    float factor = factors[blockIdx.x];
    bool wide = aligned(out, width);
    for (int c = threadIdx.x * kVector; c < width; c += kThreads * kVector) {
        float v[kVector];
        loadWide(in + at + c, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            v[i] *= factor;
        }
        store8(out + at + c, width - c, wide, v);
    }
}

#define HEAD_SCALE_ROWS(S, T)                                                      \
    extern "C" __global__ void __launch_bounds__(kThreads) head_scale_rows_##S(   \
        const float* __restrict__ in, const float* __restrict__ factors, int width, T* __restrict__ out) { \
        scaleRow(in, factors, width, out);                                        \
    }
FOURFOLD_TYPES1(HEAD_SCALE_ROWS)
