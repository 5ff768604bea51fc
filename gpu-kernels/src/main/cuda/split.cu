// Master weights of FP32 split into BF16 weights and remainders, and back: see ops/split.cuh. Four numbers a thread.

#include "ops/split.cuh"

using namespace fourfold;

// remainder may be null: the numbers' owner is another rank.
extern "C" __global__ void __launch_bounds__(256) split_fp32(const float* values, uint16_t* head, int16_t* remainder, long n) {
    long at = (long(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    bool wide = aligned(values) && ((reinterpret_cast<uintptr_t>(head) | reinterpret_cast<uintptr_t>(remainder)) & 7) == 0;
    if (wide && at + 4 <= n) {
        float4 v = *reinterpret_cast<const float4*>(values + at);
        uint2 h, r;
        splitPair(v.x, v.y, h.x, r.x);
        splitPair(v.z, v.w, h.y, r.y);
        *reinterpret_cast<uint2*>(head + at) = h;
        if (remainder != nullptr) {
            *reinterpret_cast<uint2*>(remainder + at) = r;
        }
    } else {
        for (int i = 0; i < 4 && at + i < n; ++i) {
            int16_t unkept;
            split(values[at + i], head + at + i, remainder == nullptr ? &unkept : remainder + at + i);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) join_fp32(const uint16_t* head, const int16_t* remainder, float* values, long n) {
    long at = (long(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    bool wide = aligned(values) && ((reinterpret_cast<uintptr_t>(head) | reinterpret_cast<uintptr_t>(remainder)) & 7) == 0;
    if (wide && at + 4 <= n) {
        uint2 h = *reinterpret_cast<const uint2*>(head + at);
        uint2 r = *reinterpret_cast<const uint2*>(remainder + at);
        float4 v;
        joinPair(h.x, r.x, v.x, v.y);
        joinPair(h.y, r.y, v.z, v.w);
        *reinterpret_cast<float4*>(values + at) = v;
    } else {
        for (int i = 0; i < 4 && at + i < n; ++i) {
            values[at + i] = joined(head[at + i], remainder[at + i]);
        }
    }
}
