// RMSNorm of every query and key head (head_norm.cu) and the rotation that follows it (rope_gate.cu) in one pass, with the bits
// of the two: the normed value is rounded to the type of the rows before it is rotated, and in the backward pass the gradient
// after it was rotated back.
//
// Blocks walk over tokens; a token's cosines and sines are computed once into shared memory. A group of headDim / 8 lanes takes
// a head, eight values per lane: headDim 16, 32, 64, 128 or 256, so that the two halves of a rotated pair are half a group
// apart. Weight gradients as in head_norm.cu. Rows 16-byte aligned. y may not alias qkv; dqkv may alias dy.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kThreads = 256;
constexpr int kWidestHead = 256;

struct Heads {
    int tokens, heads, kvHeads, dim;
    __device__ int perToken() const { return heads + 2 * kvHeads; }
    __device__ int normed() const { return heads + kvHeads; }
    __device__ int lanes() const { return dim / kVector; }
};

// direction 1 or -1; see rope_gate.cu for the angles. First headDim / 2 cosines, then as many sines.
__device__ __forceinline__ void fillRotation(
    float* rotation, int half, int position, const float* frequencies, float direction) {
    __syncthreads();  // the last token's are no longer read
    for (int i = threadIdx.x; i < half; i += kThreads) {
        double angle = __fmul_rn(static_cast<float>(position), frequencies[i]);
        double sine, cosine;
        sincos(angle, &sine, &cosine);
        rotation[i] = static_cast<float>(cosine);
        rotation[half + i] = direction * static_cast<float>(sine);
    }
    __syncthreads();
}

// Rounds v to T, then rotates it with the values that the lane half a group away holds. All lanes of a warp take part.
template <class T>
__device__ __forceinline__ void rotate(const float* rotation, Heads h, int col, float (&v)[kVector]) {
    int half = h.dim / 2;
    bool low = col < half;
    int at = low ? col : col - half;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
        T rounded;
        fromFloat(v[i], &rounded);
        float own = toFloat(rounded);
        float other = __shfl_xor_sync(kAllLanes, own, h.lanes() / 2);
        float cosine = rotation[at + i], sine = rotation[half + at + i];
        v[i] = low ? __fsub_rn(__fmul_rn(own, cosine), __fmul_rn(other, sine))
                   : __fadd_rn(__fmul_rn(own, cosine), __fmul_rn(other, sine));
    }
}

template <class T>
__device__ __forceinline__ void forward(
    Heads h, const T* qkv, const float* queryWeight, const float* keyWeight, float eps, const int* positions,
    const float* frequencies, T* y, float* rstd) {
    __shared__ float rotation[kWidestHead];
    int col = threadIdx.x % h.lanes() * kVector;
    int groups = kThreads / h.lanes();
    float wq[kVector], wk[kVector];
    load8(queryWeight + col, kVector, aligned(queryWeight), wq);
    load8(keyWeight + col, kVector, aligned(keyWeight), wk);
    for (int token = blockIdx.x; token < h.tokens; token += gridDim.x) {
        fillRotation(rotation, h.dim / 2, positions[token], frequencies, 1.f);
        long row = long(token) * h.perToken();
        for (int first = 0; first < h.perToken(); first += groups) {
            int head = first + threadIdx.x / h.lanes();
            bool mine = head < h.perToken(), normed = head < h.normed(), query = head < h.heads;
            float v[kVector] = {};
            if (mine) {
                loadWide(qkv + (row + head) * h.dim + col, v);
            }
            float squares = 0.f;
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                squares += v[i] * v[i];
            }
            squares = groupSum(squares, h.lanes());
            float r = static_cast<float>(1.0 / sqrt(static_cast<double>(squares / h.dim + eps)));
            float u[kVector];
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                u[i] = v[i] * r * (query ? wq[i] : wk[i]);
            }
            rotate<T>(rotation, h, col, u);
            if (normed && col == 0) {
                rstd[long(token) * h.normed() + head] = r;
            }
            if (mine) {
#pragma unroll
                for (int i = 0; i < kVector; ++i) {
                    v[i] = normed ? u[i] : v[i];
                }
                storeWide(y + (row + head) * h.dim + col, v);
            }
        }
    }
}

template <class T>
__device__ __forceinline__ void backward(
    Heads h, const T* dy, const T* qkv, const float* queryWeight, const float* keyWeight, const float* rstd,
    const int* positions, const float* frequencies, T* dqkv, float* partial) {
    __shared__ float rotation[kWidestHead];
    __shared__ float sums[kThreads][kVector];
    int col = threadIdx.x % h.lanes() * kVector;
    int groups = kThreads / h.lanes();
    float wq[kVector], wk[kVector], dq[kVector] = {}, dk[kVector] = {};
    load8(queryWeight + col, kVector, aligned(queryWeight), wq);
    load8(keyWeight + col, kVector, aligned(keyWeight), wk);
    for (int token = blockIdx.x; token < h.tokens; token += gridDim.x) {
        fillRotation(rotation, h.dim / 2, positions[token], frequencies, -1.f);
        long row = long(token) * h.perToken();
        for (int first = 0; first < h.perToken(); first += groups) {
            int head = first + threadIdx.x / h.lanes();
            bool mine = head < h.perToken(), normed = head < h.normed(), query = head < h.heads;
            float g[kVector] = {}, d[kVector], v[kVector] = {};
            float r = 0.f, dot = 0.f;
            if (mine) {
                loadWide(dy + (row + head) * h.dim + col, g);
                if (normed) {
                    loadWide(qkv + (row + head) * h.dim + col, v);
                    r = rstd[long(token) * h.normed() + head];
                }
            }
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                d[i] = g[i];
            }
            rotate<T>(rotation, h, col, d);
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                T rounded;
                fromFloat(d[i], &rounded);
                d[i] = toFloat(rounded);
                float dw = normed ? d[i] * (v[i] * r) : 0.f;
                dq[i] += query ? dw : 0.f;
                dk[i] += query ? 0.f : dw;
                d[i] *= query ? wq[i] : wk[i];
                dot += d[i] * v[i];
            }
            dot = groupSum(dot, h.lanes());
            if (mine) {
                float along = r * r * r * (dot / h.dim);
#pragma unroll
                for (int i = 0; i < kVector; ++i) {
                    d[i] = normed ? r * d[i] - along * v[i] : g[i];
                }
                storeWide(dqkv + (row + head) * h.dim + col, d);
            }
        }
    }
    for (int kind = 0; kind < 2; ++kind) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            sums[threadIdx.x][i] = kind == 0 ? dq[i] : dk[i];
        }
        __syncthreads();
        for (int c = threadIdx.x; c < h.dim; c += kThreads) {
            float sum = 0.f;
            for (int g = 0; g < groups; ++g) {
                sum += sums[g * h.lanes() + c / kVector][c % kVector];
            }
            partial[(long(blockIdx.x) * 2 + kind) * h.dim + c] = sum;
        }
    }
}

}  // namespace fourfold

using namespace fourfold;

#define HEAD_NORM_ROPE(S, T)                                                                                       \
    extern "C" __global__ void __launch_bounds__(kThreads, 4) \
        head_norm_rope_##S(const T* qkv, int tokens, int heads, int kvHeads, int dim, const float* queryWeight,    \
                           const float* keyWeight, float eps, const int* positions, const float* frequencies,      \
                           T* y, float* rstd) {                                                                    \
        forward({tokens, heads, kvHeads, dim}, qkv, queryWeight, keyWeight, eps, positions, frequencies, y, rstd); \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(kThreads, 3) head_norm_rope_backward_##S(                         \
        const T* dy, const T* qkv, int tokens, int heads, int kvHeads, int dim, const float* queryWeight,          \
        const float* keyWeight, const float* rstd, const int* positions, const float* frequencies, T* dqkv,        \
        float* partial) {                                                                                          \
        backward({tokens, heads, kvHeads, dim}, dy, qkv, queryWeight, keyWeight, rstd, positions, frequencies,     \
                 dqkv, partial);                                                                                   \
    }
FOURFOLD_TYPES1(HEAD_NORM_ROPE)
