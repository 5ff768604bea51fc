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
