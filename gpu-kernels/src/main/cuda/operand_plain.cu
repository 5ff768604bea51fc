// Plain GEMM operands: casts, and the values a GEMM sees written out for tests and telemetry.

#include <cuda_bf16.h>

// Grid: any, block 256.
extern "C" __global__ void __launch_bounds__(256) cast_fp32_bf16(
    const float* __restrict__ in, __nv_bfloat16* __restrict__ out, long elements) {
    long stride = long(gridDim.x) * blockDim.x;
    long quads = elements / 4;
    for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < quads; i += stride) {
        float4 v = __ldg(reinterpret_cast<const float4*>(in) + i);
        __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(v.x, v.y), __floats2bfloat162_rn(v.z, v.w)};
        reinterpret_cast<uint2*>(out)[i] = *reinterpret_cast<uint2*>(pairs);
    }
    if (blockIdx.x == 0 && threadIdx.x < elements % 4) {
        long i = quads * 4 + threadIdx.x;
        out[i] = __float2bfloat16_rn(in[i]);
    }
}

extern "C" __global__ void __launch_bounds__(256) cast_bf16_fp32(
    const __nv_bfloat16* __restrict__ in, float* __restrict__ out, long elements) {
    long stride = long(gridDim.x) * blockDim.x;
    for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        out[i] = __bfloat162float(in[i]);
    }
}

// An FP32 value as the sum of three BF16: eight bits of the significand each, so exact but for underflow. What is not finite
// stays in the first.
static __device__ __forceinline__ void split3(float x, __nv_bfloat16 (&parts)[3]) {
    float rest = x;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        parts[i] = __float2bfloat16_rn(rest);
        rest = isfinite(x) ? __fsub_rn(rest, __bfloat162float(parts[i])) : 0.f;
    }
}

// The three parts of an FP32 operand as three times as many rows, so that one product with a BF16 operand holds all three:
// in [rows, depth] gives out [3 rows, depth]; depthMajor: in [depth, rows] gives out [depth, 3 rows].
extern "C" __global__ void __launch_bounds__(256) split_bf16x3(
    const float* __restrict__ in, __nv_bfloat16* __restrict__ out, int rows, int depth, int depthMajor) {
    long elements = long(rows) * depth;
    long stride = long(gridDim.x) * blockDim.x;
    for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        __nv_bfloat16 parts[3];
        split3(in[i], parts);
        long first = depthMajor ? (i / rows) * 3 * rows + i % rows : i;
        long step = depthMajor ? rows : elements;
        out[first] = parts[0];
        out[first + step] = parts[1];
        out[first + 2 * step] = parts[2];
    }
}

// c[m, n] (+)= the sum of the products of the three parts, the smallest first. Parts of the left operand: products
// [3 m, n]; of the right one: [m, 3 n].
extern "C" __global__ void __launch_bounds__(256) sum_bf16x3(
    const float* __restrict__ products, float* __restrict__ c, int m, int n, int left, int accumulate) {
    long elements = long(m) * n;
    long stride = long(gridDim.x) * blockDim.x;
    for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        long first = left ? i : (i / n) * 3 * n + i % n;
        long step = left ? elements : n;
        float sum = products[first + 2 * step] + products[first + step];
        sum += products[first];
        c[i] = accumulate ? c[i] + sum : sum;
    }
}

// Parts repeated along K so that one product of depth 6 K holds the six largest of the nine products of parts:
// left a0 a0 a1 a0 a1 a2, right b0 b1 b0 b2 b1 b0. in is [rows, depth], or [depth, rows] when depthMajor; out likewise.
extern "C" __global__ void __launch_bounds__(256) split_bf16x6(
    const float* __restrict__ in, __nv_bfloat16* __restrict__ out, int rows, int depth, int depthMajor, int right) {
    long elements = long(rows) * depth;
    long stride = long(gridDim.x) * blockDim.x;
    for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        __nv_bfloat16 p[3];
        split3(in[i], p);
        long first = depthMajor ? i : (i / depth) * 6 * depth + i % depth;
        long step = depthMajor ? elements : depth;
        out[first] = p[0];
        out[first + step] = right ? p[1] : p[0];
        out[first + 2 * step] = right ? p[0] : p[1];
        out[first + 3 * step] = right ? p[2] : p[0];
        out[first + 4 * step] = p[1];
        out[first + 5 * step] = right ? p[0] : p[2];
    }
}

// out[r, k] = values * scale; values are [rows, depth], or [depth, rows] when depthMajor. scale may be null.
#define FOURFOLD_DEQUANTIZE(name, In, Out, load, store)                                                                 \
    extern "C" __global__ void __launch_bounds__(256) name(                                                            \
        const In* __restrict__ values, const float* __restrict__ scale, int rows, int depth, int depthMajor,           \
        Out* __restrict__ out) {                                                                                       \
        float factor = scale == nullptr ? 1.0f : __ldg(scale);                                                         \
        long elements = long(rows) * depth;                                                                            \
        long stride = long(gridDim.x) * blockDim.x;                                                                    \
        for (long i = long(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {                        \
            long r = i / depth;                                                                                        \
            long k = i - r * depth;                                                                                    \
            out[i] = store(__fmul_rn(load(values[depthMajor ? k * rows + r : i]), factor));                            \
        }                                                                                                              \
    }
FOURFOLD_DEQUANTIZE(dequantize_bf16_fp32, __nv_bfloat16, float, __bfloat162float, )
FOURFOLD_DEQUANTIZE(dequantize_bf16_bf16, __nv_bfloat16, __nv_bfloat16, __bfloat162float, __float2bfloat16_rn)
FOURFOLD_DEQUANTIZE(dequantize_fp32_fp32, float, float, , )
FOURFOLD_DEQUANTIZE(dequantize_fp32_bf16, float, __nv_bfloat16, , __float2bfloat16_rn)

// alpha = scaleA * scaleB, either null for 1: the factor of a product of two scaled operands. One thread.
extern "C" __global__ void gemm_alpha(
    const float* __restrict__ scaleA, const float* __restrict__ scaleB, float* __restrict__ alpha) {
    *alpha = __fmul_rn(scaleA == nullptr ? 1.0f : *scaleA, scaleB == nullptr ? 1.0f : *scaleB);
}
