// Rotary positions (arXiv:2104.09864, "rotate half") in place and the sigmoid gate of a shared expert.
//
//   rope   (x_i, x_{i+d/2}) -> (x_i cos - x_{i+d/2} sin, x_{i+d/2} cos + x_i sin), angle = position * frequency_i in FP32;
//          sine and cosine of that angle in FP64, rounded once, computed once per token and shared by its heads.
//   gate   out[t, :] += sigmoid(g[t]) y[t, :];  backward dy = sigmoid(g) dout, dg = s (1 - s) dot(dout, y)
//
// rope: one block per token. gates: one warp per row.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kWarps = 8;

template <class T>
__device__ __forceinline__ void rope(
    T* qkv, int rotated, int width, int headDim, const int* positions, const float* frequencies, float direction) {
    extern __shared__ float rotation[];  // headDim / 2 cosines, then as many sines
    int token = blockIdx.x;
    int half = headDim / 2;
    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        double angle = __fmul_rn(static_cast<float>(positions[token]), frequencies[i]);
        double sine, cosine;
        sincos(angle, &sine, &cosine);
        rotation[i] = static_cast<float>(cosine);
        rotation[half + i] = direction * static_cast<float>(sine);
    }
    __syncthreads();
    int vectors = (half + kVector - 1) / kVector;
    bool wide = aligned(qkv, width) && half % kVector == 0;
    T* row = qkv + long(token) * width;
    for (int item = threadIdx.x; item < rotated * vectors; item += blockDim.x) {
        int head = item / vectors;
        int i = (item - head * vectors) * kVector;
        T* at = row + head * headDim + i;
        float low[kVector], high[kVector], a[kVector], b[kVector];
        load8(at, half - i, wide, low);
        load8(at + half, half - i, wide, high);
#pragma unroll
        for (int j = 0; j < kVector; ++j) {
            int index = min(i + j, half - 1);
            float cosine = rotation[index], sine = rotation[half + index];
            a[j] = __fsub_rn(__fmul_rn(low[j], cosine), __fmul_rn(high[j], sine));
            b[j] = __fadd_rn(__fmul_rn(high[j], cosine), __fmul_rn(low[j], sine));
        }
        store8(at, half - i, wide, a);
        store8(at + half, half - i, wide, b);
    }
}

template <class Y, class O>
__device__ __forceinline__ void addGated(const float* gate, const Y* y, O* out, int rows, int cols) {
    int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= rows) {
        return;
    }
    float s = sigmoid(gate[row]);
    bool wideY = aligned(y, cols), wideOut = aligned(out, cols);
    for (int col = threadIdx.x % kWarp * kVector; col < cols; col += kWarp * kVector) {
        float v[kVector], z[kVector];
        load8(y + long(row) * cols + col, cols - col, wideY, v);
        load8(out + long(row) * cols + col, cols - col, wideOut, z);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            z[i] = __fadd_rn(z[i], __fmul_rn(s, v[i]));
        }
        store8(out + long(row) * cols + col, cols - col, wideOut, z);
    }
}

template <class Y, class O>
__device__ __forceinline__ void addGatedBackward(
    const float* gate, const Y* y, const O* dout, Y* dy, float* dgate, int rows, int cols) {
    int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= rows) {
        return;
    }
    float s = sigmoid(gate[row]);
    float dot = 0.f;
    bool wideY = aligned(y, cols), wideD = aligned(dout, cols), wideDy = aligned(dy, cols);
    for (int col = threadIdx.x % kWarp * kVector; col < cols; col += kWarp * kVector) {
        float v[kVector], d[kVector];
        load8(y + long(row) * cols + col, cols - col, wideY, v);
        load8(dout + long(row) * cols + col, cols - col, wideD, d);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            dot += d[i] * v[i];
            d[i] *= s;
        }
        store8(dy + long(row) * cols + col, cols - col, wideDy, d);
    }
    dot = groupSum(dot);
    if (threadIdx.x % kWarp == 0) {
        dgate[row] = s * (1.f - s) * dot;
    }
}

}  // namespace fourfold

using namespace fourfold;

#define ROPE(S, T)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256)                                                      \
        rope_##S(T* qkv, int rotated, int width, int headDim, const int* positions, const float* frequencies, \
                 float direction) {                                                                        \
        rope(qkv, rotated, width, headDim, positions, frequencies, direction);                             \
    }
FOURFOLD_TYPES1(ROPE)

// Types: of y and dy, of out and dout.
#define GATE(S, Y, O)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                      \
        add_gated_##S(const float* gate, const Y* y, O* out, int rows, int cols) {                         \
        addGated(gate, y, out, rows, cols);                                                                \
    }                                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                      \
        add_gated_backward_##S(const float* gate, const Y* y, const O* dout, Y* dy, float* dgate, int rows, int cols) { \
        addGatedBackward(gate, y, dout, dy, dgate, rows, cols);                                            \
    }
FOURFOLD_TYPES2(GATE)
