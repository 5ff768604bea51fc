// SwiGLU of one element and its gradients, formulas in activation.cu. One place, so that all kernels round alike.
#pragma once

#include <cuda_runtime.h>

namespace fourfold {

// The sigmoid within two units in the last place: an exact division would take a slow path of many registers.
__device__ __forceinline__ float gateOf(float x) { return __fdividef(1.f, 1.f + expf(-x)); }

__device__ __forceinline__ float swiglu(float gate, float up, float probability) {
    return gate * gateOf(gate) * up * probability;
}

// d becomes the probability's gradient, gate and up become their own.
__device__ __forceinline__ void swigluBackward(float& d, float& gate, float& up, float probability) {
    float s = gateOf(gate);
    float dp = d * probability;
    float g = gate;
    d = d * (g * s * up);
    gate = dp * up * s * (1.f + g * (1.f - s));
    up = dp * g * s;
}

}  // namespace fourfold
