// The router in one kernel: scores, selection (bias, groups), weights and expert counts; one warp per token, the E
// values of a token in registers, expert e = lane + 32 j. E up to 512, k and the groups up to 32. All FP32.
//
//   SOFTMAX_TOP_K (0)  s = softmax(z), select by s + b, w = s (/ sum of the chosen + 1e-20 when normalizing)
//   TOP_K_SOFTMAX (1)  s = softmax(z), select by z + b, w = softmax of the chosen z
//   SIGMOID       (2)  s = sigmoid(z), select by s + b, w as in (0)
//
// Groups (arXiv:2412.19437 section 2.1.2): a group's score is the sum of its best experts; the others do not take part.
// Ties go to the lower index; NaN ranks below every number. Counts are integer atomics, so their order does not matter.
// Backward, with u = dweights * scale: see CpuRouterBackward.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kWarps = 4;
constexpr float kLeastSum = 1e-20f;  // keeps a token whose sigmoids all underflow finite
enum Score { kSoftmaxTopK = 0, kTopKSoftmax = 1, kSigmoid = 2 };

struct Spec {
    int experts, k, score, normalize, groups, groupTopK;
    float scale;
};

// Larger floats have larger keys; NaN has 1, an excluded value 0.
__device__ __forceinline__ uint32_t sortKey(float x) {
    uint32_t bits = __float_as_uint(x + 0.f);
    return isnan(x) ? 1u : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The lowest index of the largest key of the warp.
__device__ __forceinline__ int warpBest(uint32_t key, int index) {
    uint32_t best = __reduce_max_sync(kAllLanes, key);
    return static_cast<int>(__reduce_min_sync(kAllLanes, key == best ? uint32_t(index) : 0xffffffffu));
}

// 1 / x for a normal x, one Newton step after the approximation.
__device__ __forceinline__ float reciprocalOf(float x) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return __fmaf_rn(__fmaf_rn(-x, r, 1.f), r, r);
}

// a / b, correctly rounded for normal results, given reciprocal = 1 / b (Markstein): no slow path to call.
__device__ __forceinline__ float divide(float a, float b, float reciprocal) {
    float q = __fmul_rn(a, reciprocal);
    return __fmaf_rn(__fmaf_rn(-q, b, a), reciprocal, q);
}

template <int kPerLane>
struct Row {
    float v[kPerLane];

    __device__ __forceinline__ void load(const float* from, int n, float missing) {
        int lane = threadIdx.x % kWarp;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            int e = lane + j * kWarp;
            v[j] = e < n ? from[e] : missing;
        }
    }

    __device__ __forceinline__ void store(float* to, int n) const {
        int lane = threadIdx.x % kWarp;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            int e = lane + j * kWarp;
            if (e < n) {
                to[e] = v[j];
            }
        }
    }

    __device__ __forceinline__ float sum() const {
        float total = 0.f;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            total += v[j];
        }
        return groupSum(total);
    }

    // Value of expert e, in every lane.
    __device__ __forceinline__ float at(int e) const {
        float mine = 0.f;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            mine = e / kWarp == j ? v[j] : mine;
        }
        return __shfl_sync(kAllLanes, mine, e % kWarp);
    }

    // Adds in the lane that holds expert e.
    __device__ __forceinline__ void addAt(int e, float x) {
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            v[j] += e == int(threadIdx.x % kWarp) + j * kWarp ? x : 0.f;
        }
    }

    // Replaces values by exp(v - max); missing values must be -infinity. Returns max and sum.
    __device__ __forceinline__ float2 exponentiate() {
        float largest = -INFINITY;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            largest = fmaxf(largest, v[j]);
        }
        largest = groupMax(largest);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            v[j] = expf(v[j] - largest);
        }
        return make_float2(largest, sum());
    }
};

template <int kPerLane>
__device__ __forceinline__ int takeBest(uint32_t (&keys)[kPerLane], int from, int to) {
    int lane = threadIdx.x % kWarp;
    uint32_t best = 0;
    int index = 0x7fffffff;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        int e = lane + j * kWarp;
        if (e >= from && e < to && keys[j] > best) {
            best = keys[j];
            index = e;
        }
    }
    int winner = warpBest(best, index);
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        keys[j] = lane + j * kWarp == winner ? 0u : keys[j];
    }
    return winner;
}

template <int kPerLane>
__device__ __forceinline__ void keysOf(const Row<kPerLane>& row, int n, uint32_t (&keys)[kPerLane]) {
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        keys[j] = int(threadIdx.x % kWarp) + j * kWarp < n ? sortKey(row.v[j]) : 0u;
    }
}

// Zeroes the keys of all experts outside the best groups.
template <int kPerLane>
__device__ __forceinline__ void excludeWeakGroups(const Spec& spec, const Row<kPerLane>& selection, uint32_t (&keys)[kPerLane]) {
    int lane = threadIdx.x % kWarp;
    int size = spec.experts / spec.groups;
    float groupScore = 0.f;
#pragma unroll 1
    for (int g = 0; g < spec.groups; ++g) {
        float total = 0.f;
#pragma unroll 1
        for (int i = 0; i < spec.k / spec.groupTopK; ++i) {
            total += selection.at(takeBest(keys, g * size, (g + 1) * size));
        }
        groupScore = lane == g ? total : groupScore;
    }
    uint32_t key = lane < spec.groups ? sortKey(groupScore) : 0u;
    uint32_t allowed = 0;
    for (int i = 0; i < spec.groupTopK; ++i) {
        int g = warpBest(key, lane);
        allowed |= 1u << g;
        key = lane == g ? 0u : key;
    }
    keysOf(selection, spec.experts, keys);
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        int e = lane + j * kWarp;
        keys[j] = e < spec.experts && (allowed >> (e / size) & 1u) ? keys[j] : 0u;
    }
}

template <int kPerLane>
__device__ __forceinline__ void route(
    const Spec& spec, const float* logits, const float* bias, float* scores, int* experts, float* weights, int* counts, int tokens) {
    int lane = threadIdx.x % kWarp;
    int token = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (token >= tokens) {
        return;
    }
    Row<kPerLane> z, s;
    z.load(logits + long(token) * spec.experts, spec.experts, -INFINITY);
    s = z;
    if (spec.score == kSigmoid) {
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            float below = 1.f + expf(-s.v[j]);
            s.v[j] = below > 1e37f ? 0.f : divide(1.f, below, reciprocalOf(below));
        }
    } else {
        float total = s.exponentiate().y;
        float reciprocal = reciprocalOf(total);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            s.v[j] = divide(s.v[j], total, reciprocal);
        }
    }
    s.store(scores + long(token) * spec.experts, spec.experts);
    Row<kPerLane> value;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
        value.v[j] = spec.score == kTopKSoftmax ? z.v[j] : s.v[j];
    }
    Row<kPerLane> selection = value;
    if (bias != nullptr) {
        Row<kPerLane> b;
        b.load(bias, spec.experts, 0.f);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            selection.v[j] += b.v[j];
        }
    }
    uint32_t keys[kPerLane];
    keysOf(selection, spec.experts, keys);
    if (spec.groups > 1) {
        excludeWeakGroups(spec, selection, keys);
    }
    int chosen = 0;
    float weight = spec.score == kTopKSoftmax ? -INFINITY : 0.f;
#pragma unroll 1
    for (int j = 0; j < spec.k; ++j) {
        int best = takeBest(keys, 0, spec.experts);
        float w = value.at(best);
        chosen = lane == j ? best : chosen;
        weight = lane == j ? w : weight;
    }
    float divisor = 1.f;
    if (spec.score == kTopKSoftmax) {
        weight = expf(weight - groupMax(weight));
        divisor = groupSum(weight);
    } else if (spec.normalize) {
        divisor = groupSum(weight) + kLeastSum;
    }
    if (lane < spec.k) {
        experts[long(token) * spec.k + lane] = chosen;
        weights[long(token) * spec.k + lane] = divide(weight, divisor, reciprocalOf(divisor)) * spec.scale;
        atomicAdd(counts + chosen, 1);
    }
}

template <int kPerLane>
__device__ __forceinline__ void routeBackward(
    const Spec& spec, const float* logits, const float* scores, const int* experts, const float* dweights,
    const float* dscores, float* dlogits, int tokens) {
    int lane = threadIdx.x % kWarp;
    int token = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (token >= tokens) {
        return;
    }
    Row<kPerLane> s, g;
    s.load(scores + long(token) * spec.experts, spec.experts, 0.f);
    if (dscores != nullptr) {
        g.load(dscores + long(token) * spec.experts, spec.experts, 0.f);
    } else {
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            g.v[j] = 0.f;
        }
    }
    bool mine = lane < spec.k;
    long slot = long(token) * spec.k + lane;
    int expert = mine ? experts[slot] : 0;
    float u = mine ? dweights[slot] * spec.scale : 0.f;
    float chosenGradient = 0.f;
    if (spec.score == kTopKSoftmax) {
        float p = mine ? logits[long(token) * spec.experts + expert] : -INFINITY;
        p = expf(p - groupMax(p));
        p /= groupSum(p);
        chosenGradient = p * (u - groupSum(mine ? u * p : 0.f));
    } else {
        float divisor = 1.f, mean = 0.f;
        if (spec.normalize) {
            float c = mine ? scores[long(token) * spec.experts + expert] : 0.f;
            divisor = groupSum(c) + kLeastSum;
            mean = groupSum(u * c) / divisor;
        }
        float ds = (u - mean) / divisor;
        for (int j = 0; j < spec.k; ++j) {
            g.addAt(__shfl_sync(kAllLanes, expert, j), __shfl_sync(kAllLanes, ds, j));
        }
    }
    if (spec.score == kSigmoid) {
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            g.v[j] = g.v[j] * s.v[j] * (1.f - s.v[j]);
        }
    } else {
        float dot = 0.f;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            dot += g.v[j] * s.v[j];
        }
        dot = groupSum(dot);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            g.v[j] = s.v[j] * (g.v[j] - dot);
        }
    }
    if (spec.score == kTopKSoftmax) {
        for (int j = 0; j < spec.k; ++j) {
            g.addAt(__shfl_sync(kAllLanes, expert, j), __shfl_sync(kAllLanes, chosenGradient, j));
        }
    }
    g.store(dlogits + long(token) * spec.experts, spec.experts);
}

// Block sums of per-lane columns, warps in order: partial[block, e].
template <int kPerLane>
__device__ __forceinline__ void storeColumns(const Row<kPerLane>& sums, int experts, float* partial) {
    __shared__ float all[kWarps][kPerLane * kWarp];
    sums.store(all[threadIdx.x / kWarp], kPerLane * kWarp);
    __syncthreads();
    for (int e = threadIdx.x; e < experts; e += kWarps * kWarp) {
        float total = 0.f;
        for (int w = 0; w < kWarps; ++w) {
            total += all[w][e];
        }
        partial[long(blockIdx.x) * experts + e] = total;
    }
}

// With p = s, or s / sum(s): partial column sums of p, and dscores += (factor f - mean) / sum where fraction is given.
template <int kPerLane>
__device__ __forceinline__ void balanceLoss(
    const float* scores, int normalize, const float* fraction, float factor, float* dscores, float* partial, int tokens, int experts) {
    Row<kPerLane> sums = {};
    Row<kPerLane> g = {};
    if (fraction != nullptr) {
        g.load(fraction, experts, 0.f);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            g.v[j] *= factor;
        }
    }
    for (int token = blockIdx.x * kWarps + threadIdx.x / kWarp; token < tokens; token += gridDim.x * kWarps) {
        Row<kPerLane> p;
        p.load(scores + long(token) * experts, experts, 0.f);
        float sum = 1.f, mean = 0.f, reciprocal = 1.f;
        if (normalize) {
            sum = p.sum() + kLeastSum;
            reciprocal = reciprocalOf(sum);
            float dot = 0.f;
#pragma unroll
            for (int j = 0; j < kPerLane; ++j) {
                p.v[j] = divide(p.v[j], sum, reciprocal);
                dot += g.v[j] * p.v[j];
            }
            mean = groupSum(dot);
        }
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            sums.v[j] += p.v[j];
        }
        if (fraction != nullptr) {
            Row<kPerLane> d;
            d.load(dscores + long(token) * experts, experts, 0.f);
#pragma unroll
            for (int j = 0; j < kPerLane; ++j) {
                d.v[j] += divide(g.v[j] - mean, sum, reciprocal);
            }
            d.store(dscores + long(token) * experts, experts);
        }
    }
    storeColumns(sums, experts, partial);
}

// partial[block] = sum of lse^2; dlogits += factor 2 lse softmax.
template <int kPerLane>
__device__ __forceinline__ void zLoss(const float* logits, float factor, double* partial, float* dlogits, int tokens, int experts) {
    __shared__ double squares[kWarps];
    double total = 0;
    for (int token = blockIdx.x * kWarps + threadIdx.x / kWarp; token < tokens; token += gridDim.x * kWarps) {
        Row<kPerLane> z, d;
        z.load(logits + long(token) * experts, experts, -INFINITY);
        d.load(dlogits + long(token) * experts, experts, 0.f);
        float2 maxAndSum = z.exponentiate();
        float lse = maxAndSum.x + logf(maxAndSum.y);
        total += double(lse) * lse;
        float slope = factor * 2.f * lse / maxAndSum.y;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
            d.v[j] += slope * z.v[j];
        }
        d.store(dlogits + long(token) * experts, experts);
    }
    if (threadIdx.x % kWarp == 0) {
        squares[threadIdx.x / kWarp] = total;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < kWarps; ++w) {
            total += squares[w];
        }
        partial[blockIdx.x] = total;
    }
}

}  // namespace fourfold

using namespace fourfold;

// N: values per lane, for up to 32 N experts.
#define ROUTER(N)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp)                                                   \
        route_##N(int tokens, int experts, int k, int score, int normalize, int groups, int groupTopK, float scale, \
                  const float* logits, const float* bias, float* scores, int* chosen, float* weights, int* counts) { \
        route<N>({experts, k, score, normalize, groups, groupTopK, scale}, logits, bias, scores, chosen, weights,  \
                 counts, tokens);                                                                                  \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp)                                                   \
        route_backward_##N(int tokens, int experts, int k, int score, int normalize, float scale,                  \
                           const float* logits, const float* scores, const int* chosen, const float* dweights,     \
                           const float* dscores, float* dlogits) {                                                 \
        routeBackward<N>({experts, k, score, normalize, 1, 1, scale}, logits, scores, chosen, dweights, dscores,   \
                         dlogits, tokens);                                                                         \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp)                                                   \
        balance_loss_##N(int tokens, int experts, const float* scores, int normalize, const float* fraction,       \
                         float factor, float* dscores, float* partial) {                                           \
        balanceLoss<N>(scores, normalize, fraction, factor, dscores, partial, tokens, experts);                    \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(kWarps * kWarp)                                                   \
        z_loss_##N(int tokens, int experts, const float* logits, float factor, double* partial, float* dlogits) {  \
        zLoss<N>(logits, factor, partial, dlogits, tokens, experts);                                               \
    }
ROUTER(1)
ROUTER(2)
ROUTER(4)
ROUTER(8)
ROUTER(16)
