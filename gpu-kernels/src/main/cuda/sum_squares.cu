// Sums of squares of the segments of a flat FP32 buffer that do not depend on how the buffer is cut into segments or blocks.
//
//   out[s] = sum over groups g of 16 elements, at multiples of 16 of the buffer, of the segment's part of
//            (x0^2 + x2^2 + ... + x14^2) + (x1^2 + x3^2 + ... + x15^2) in FP64, each addend in this order
//
// Sums of groups are added as integers (numeric/ExactSum.java): word w of ten counts 2^(32 w - 192), the lower half of the
// eleventh counts groups that are 2^127 or more, the upper one those that are no number. So nothing is rounded after the
// group, and any order gives the same words.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kSumThreads = 512;
constexpr int kGroup = 16;
constexpr int kLimbs = 10;
constexpr int kWords = kLimbs + 1;

typedef unsigned long long Word;

// Adds a sum of squares; a thread adds at most 2^31.
__device__ __forceinline__ void addExactly(double value, Word (&words)[kWords]) {
    bool fits = value < 0x1p127;  // false for NaN
    words[kLimbs] += isnan(value) ? Word(1) << 32 : !fits;
    Word bits = __double_as_longlong(value);
    int exponent = static_cast<int>(bits >> 52);
    Word mantissa = (bits & ((Word(1) << 52) - 1)) | (Word(1) << 52);
    int place = exponent - 1023 - 52 + 192;
    mantissa = !fits || exponent == 0 || place <= -64 ? 0 : mantissa >> max(0, -place);
    place = fits ? max(0, place) : 0;
    int word = place / 32, shift = place % 32;
    Word low = mantissa << shift;
    Word high = shift == 0 ? 0 : mantissa >> (64 - shift);
#pragma unroll
    for (int i = 0; i < kLimbs; ++i) {
        words[i] += i == word ? low & 0xFFFFFFFFu : i == word + 1 ? low >> 32 : i == word + 2 ? high : 0;
    }
}

}  // namespace fourfold

using namespace fourfold;

// kernels -----------------------------------------------------------------------------------------------------------

// bounds [pieces][2]: elements of each piece; segments [pieces]; out [segments][11]. A block a piece.
extern "C" __global__ void __launch_bounds__(kSumThreads)
    sum_squares(const float* __restrict__ x, const long2* __restrict__ bounds, const int* __restrict__ segments, Word* out) {
    __shared__ Word warps[kSumThreads / kWarp][kWords];
    long2 piece = bounds[blockIdx.x];
    Word words[kWords] = {};
    bool wide = aligned(x);
    for (long at = piece.x / kGroup * kGroup + threadIdx.x * kGroup; at < piece.y; at += kSumThreads * kGroup) {
        double sums[2] = {};
        if (wide && at >= piece.x && at + kGroup <= piece.y) {
#pragma unroll
            for (int i = 0; i < kGroup; i += 4) {
                float4 v = __ldg(reinterpret_cast<const float4*>(x + at + i));
                double a = v.x, b = v.y, c = v.z, d = v.w;
                sums[0] += a * a;  // products of FP32 numbers are exact: contraction changes nothing
                sums[1] += b * b;
                sums[0] += c * c;
                sums[1] += d * d;
            }
        } else {
            for (long i = max(at, piece.x); i < min(at + kGroup, piece.y); ++i) {
                double a = x[i];
                sums[(i - at) % 2] += a * a;
            }
        }
        addExactly(sums[0] + sums[1], words);
    }
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        for (int step = kWarp / 2; step > 0; step /= 2) {
            words[i] += __shfl_xor_sync(kAllLanes, words[i], step);
        }
        if (threadIdx.x % kWarp == 0) {
            warps[threadIdx.x / kWarp][i] = words[i];
        }
    }
    __syncthreads();
    if (threadIdx.x < kWords) {
        Word sum = 0;
        for (int i = 0; i < kSumThreads / kWarp; ++i) {
            sum += warps[i][threadIdx.x];
        }
        if (sum != 0) {
            atomicAdd(out + long(segments[blockIdx.x]) * kWords + threadIdx.x, sum);
        }
    }
}
