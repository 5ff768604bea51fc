// E4M3 codes and their factors, bit for bit as docs/numerics.md says: S = min(448 / amax, largest float), 1 where amax is 0
// or not finite; code = E4M3(x * S) to nearest even; decode factor 1 / S, NaN where amax is not finite.
#pragma once

#include <cfloat>

#include "amax.cuh"
#include "nvfp4.cuh"

namespace fourfold {

struct Fp8Scale {
    float encode;
    float decode;
};

__device__ __forceinline__ Fp8Scale fp8Scale(float amax) {
    bool finite = isfinite(amax);
    float encode = amax == 0.f || !finite ? 1.f : fminf(__fdiv_rn(448.f, amax), FLT_MAX);
    return {encode, finite ? __frcp_rn(encode) : __int_as_float(0x7FC00000)};
}

__device__ __forceinline__ uint32_t encodeE4m3(float x, float encode) {
    return __nv_cvt_float_to_fp8(__fmul_rn(x, encode), __NV_SATFINITE, __NV_E4M3);
}

__device__ __forceinline__ uint32_t encodePair(float a, float b, float encodeA, float encodeB) {
    return __nv_cvt_float2_to_fp8x2(make_float2(__fmul_rn(a, encodeA), __fmul_rn(b, encodeB)), __NV_SATFINITE, __NV_E4M3);
}

}  // namespace fourfold
