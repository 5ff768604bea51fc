// What quantization lost, see io.fourfold.kernels.op.QuantStats: seven FP64 sums in device memory.
#pragma once

#include <cuda_runtime.h>

namespace fourfold {

struct QuantSums {
    float elements = 0;
    float zeroCodes = 0;
    float saturated = 0;
    float blocks = 0;
    float scaleUnderflows = 0;
    double signal = 0;
    double noise = 0;

    __device__ __forceinline__ void addBlock(float blockAmax, float decoded) {
        blocks += 1;
        scaleUnderflows += blockAmax != 0.f && decoded == 0.f;
    }

    __device__ __forceinline__ void addElement(
        float input, float value, float factor, float decoded, float tensorScale, float largest) {
        double error = input - static_cast<double>(__fmul_rn(value, tensorScale));
        elements += 1;
        zeroCodes += input != 0.f && value == 0.f;
        saturated += decoded != 0.f && fabsf(__fmul_rn(input, factor)) > __fmul_rn(largest, 1.0f + 0x1p-20f);
        signal += static_cast<double>(input) * input;
        noise += error * error;
    }

    // Every lane of the warp takes part.
    __device__ __forceinline__ void flush(double* out) {
        double sums[7] = {elements, zeroCodes, saturated, blocks, scaleUnderflows, signal, noise};
#pragma unroll
        for (int i = 0; i < 7; ++i) {
#pragma unroll
            for (int distance = 16; distance > 0; distance /= 2) {
                sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], distance);
            }
            if (threadIdx.x % 32 == 0) {
                atomicAdd(out + i, sums[i]);
            }
        }
    }
};

}  // namespace fourfold
