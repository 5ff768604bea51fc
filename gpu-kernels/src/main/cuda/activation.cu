// Nonlinearity of a feed-forward block times the routing probability p of the row, one warp per row, s = sigmoid(g):
//
//   SWIGLU  in [R, 2W] = [g | u]:  out = g s u p;  dg = d p u s (1 + g (1 - s));  du = d p g s;  dp = sum d (g s u)
//   RELU2   in [R, W]:             out = max(x, 0)^2 p;  dx = 2 d p max(x, 0);    dp = sum d max(x, 0)^2
//
// (arXiv:2002.05202, arXiv:2109.08668.) probability null = 1, dprobability null = not wanted. FP32 arithmetic, one
// rounding per store; 16-byte accesses where W is a multiple of 8. din may alias in.

#include "ops/gate.cuh"
#include "ops/vector.cuh"

namespace fourfold {

constexpr int kWarps = 8;
constexpr int kStep = kWarp * kVector;

template <bool kSwiglu, class I, class O>
__device__ __forceinline__ void activate(const I* in, const float* probability, O* out, int rows, int width) {
    int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= rows) {
        return;
    }
    const I* from = in + long(row) * width * (kSwiglu ? 2 : 1);
    O* to = out + long(row) * width;
    float p = probability == nullptr ? 1.f : probability[row];
    bool wideIn = aligned(in, width), wideOut = aligned(out, width);
#pragma unroll 2
    for (int col = threadIdx.x % kWarp * kVector; col < width; col += kStep) {
        float g[kVector], u[kVector];
        load8(from + col, width - col, wideIn, g);
        if (kSwiglu) {
            load8(from + width + col, width - col, wideIn, u);
        }
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            if (kSwiglu) {
                g[i] = swiglu(g[i], u[i], p);
            } else {
                float x = fmaxf(g[i], 0.f);
                g[i] = (isnan(g[i]) ? g[i] : x * x) * p;
            }
        }
        store8(to + col, width - col, wideOut, g);
    }
}

template <bool kSwiglu, class I, class O>
__device__ __forceinline__ void differentiate(
    const I* dout, const O* in, const float* probability, O* din, float* dprobability, int rows, int width) {
    int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= rows) {
        return;
    }
    const I* upstream = dout + long(row) * width;
    long at = long(row) * width * (kSwiglu ? 2 : 1);
    float p = probability == nullptr ? 1.f : probability[row];
    bool wideD = aligned(dout, width), wideIn = aligned(in, width), wideOut = aligned(din, width);
    float dot = 0.f;
#pragma unroll 1
    for (int col = threadIdx.x % kWarp * kVector; col < width; col += kStep) {
        float d[kVector], g[kVector], u[kVector];
        load8(upstream + col, width - col, wideD, d);
        load8(in + at + col, width - col, wideIn, g);
        if (kSwiglu) {
            load8(in + at + width + col, width - col, wideIn, u);
        }
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            if (kSwiglu) {
                swigluBackward(d[i], g[i], u[i], p);
                dot += d[i];
            } else {
                float x = isnan(g[i]) ? g[i] : fmaxf(g[i], 0.f);
                dot += d[i] * (x * x);
                g[i] = 2.f * d[i] * p * x;
            }
        }
        store8(din + at + col, width - col, wideOut, g);
        if (kSwiglu) {
            store8(din + at + width + col, width - col, wideOut, u);
        }
    }
    if (dprobability != nullptr) {
        dot = groupSum(dot);
        if (threadIdx.x % kWarp == 0) {
            dprobability[row] = dot;
        }
    }
}

}  // namespace fourfold

using namespace fourfold;

#define ACTIVATION(S, I, O)                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                  \
        swiglu_##S(const I* in, const float* probability, O* out, int rows, int width) {               \
        activate<true>(in, probability, out, rows, width);                                             \
    }                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                  \
        relu2_##S(const I* in, const float* probability, O* out, int rows, int width) {                \
        activate<false>(in, probability, out, rows, width);                                            \
    }
FOURFOLD_TYPES2(ACTIVATION)

// Types: of dout, of in and din.
#define GRADIENT(S, I, O)                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                  \
        swiglu_backward_##S(const I* dout, const O* in, const float* probability, O* din,              \
                            float* dprobability, int rows, int width) {                                \
        differentiate<true>(dout, in, probability, din, dprobability, rows, width);                    \
    }                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                  \
        relu2_backward_##S(const I* dout, const O* in, const float* probability, O* din,               \
                           float* dprobability, int rows, int width) {                                 \
        differentiate<false>(dout, in, probability, din, dprobability, rows, width);                   \
    }
FOURFOLD_TYPES2(GRADIENT)
