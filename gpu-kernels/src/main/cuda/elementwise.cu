// Element-wise operations on flat tensors of n elements and on rows [rows, cols]; FP32 arithmetic, one rounding per store.
// One thread per eight elements. Outputs may alias inputs: a thread reads all it needs before it writes.
//
//   fill         out = value, as bits          copy        out = in, converted
//   add          out = a + b                   add_scaled  out = out + factor * a
//   add_bias     out[t, c] = out[t, c] + bias[c]
//   column_sums  partial[p, c] = sum of x[t, c] over the rows t of slice p, ascending
//   add_partials out[c] = out[c] + sum over p of partial[p, c], p ascending: with column_sums the bias gradient. The
//                slices depend on the shape alone, so the result is the same in every run.

#include "ops/vector.cuh"

namespace fourfold {

__device__ __forceinline__ long vectorStart() { return (long(blockIdx.x) * blockDim.x + threadIdx.x) * kVector; }

template <class A, class O>
__device__ __forceinline__ void copy(const A* in, O* out, long n) {
    long at = vectorStart();
    if (at < n) {
        float v[kVector];
        load8(in + at, n - at, aligned(in), v);
        store8(out + at, n - at, aligned(out), v);
    }
}

template <class A, class B, class O>
__device__ __forceinline__ void add(const A* a, const B* b, O* out, long n) {
    long at = vectorStart();
    if (at < n) {
        float x[kVector], y[kVector];
        load8(a + at, n - at, aligned(a), x);
        load8(b + at, n - at, aligned(b), y);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            x[i] += y[i];
        }
        store8(out + at, n - at, aligned(out), x);
    }
}

template <class A, class O>
__device__ __forceinline__ void addScaled(const A* a, float factor, O* out, long n) {
    long at = vectorStart();
    if (at < n) {
        float x[kVector], z[kVector];
        load8(a + at, n - at, aligned(a), x);
        load8(out + at, n - at, aligned(out), z);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            z[i] = __fadd_rn(z[i], __fmul_rn(factor, x[i]));
        }
        store8(out + at, n - at, aligned(out), z);
    }
}

template <class B, class O>
__device__ __forceinline__ void addBias(const B* bias, O* out, int rows, int cols) {
    int vectors = (cols + kVector - 1) / kVector;
    long item = long(blockIdx.x) * blockDim.x + threadIdx.x;
    long row = item / vectors;
    int col = static_cast<int>(item - row * vectors) * kVector;
    if (row < rows) {
        float b[kVector], z[kVector];
        O* to = out + row * cols + col;
        load8(bias + col, cols - col, aligned(bias), b);
        load8(to, cols - col, aligned(out, cols), z);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            z[i] += b[i];
        }
        store8(to, cols - col, aligned(out, cols), z);
    }
}

// Grid: column blocks of 8 * blockDim.x by slices.
template <class A>
__device__ __forceinline__ void columnSums(const A* x, int rows, int cols, int rowsPerSlice, float* partial) {
    int col = (blockIdx.x * blockDim.x + threadIdx.x) * kVector;
    if (col >= cols) {
        return;
    }
    int from = blockIdx.y * rowsPerSlice;
    int to = min(from + rowsPerSlice, rows);
    float sums[kVector] = {};
    bool wide = aligned(x, cols);
#pragma unroll 4
    for (int row = from; row < to; ++row) {
        float v[kVector];
        load8(x + long(row) * cols + col, cols - col, wide, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            sums[i] += v[i];
        }
    }
    store8(partial + long(blockIdx.y) * cols + col, cols - col, cols % kVector == 0, sums);
}

// One block of 32 by 8 threads takes 32 columns: eight threads share a column's partials.
template <class O>
__device__ __forceinline__ void addPartials(const float* partial, int count, int cols, O* out) {
    __shared__ float sums[8][kWarp];
    int lane = threadIdx.x % kWarp;
    int part = threadIdx.x / kWarp;
    int col = blockIdx.x * kWarp + lane;
    int perPart = (count + 7) / 8;
    float sum = 0.f;
    if (col < cols) {
        int end = min((part + 1) * perPart, count);
#pragma unroll 8
        for (int p = part * perPart; p < end; ++p) {
            sum += partial[long(p) * cols + col];
        }
    }
    sums[part][lane] = sum;
    __syncthreads();
    if (part == 0 && col < cols) {
        for (int p = 1; p < 8; ++p) {
            sum += sums[p][lane];
        }
        fromFloat(toFloat(out[col]) + sum, out + col);
    }
}

}  // namespace fourfold

using namespace fourfold;

extern "C" __global__ void __launch_bounds__(256) fill_words(uint32_t* out, long n, uint32_t word) {
    long at = (long(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    for (int i = 0; i < 4 && at + i < n; ++i) {
        out[at + i] = word;
    }
}

extern "C" __global__ void __launch_bounds__(256) fill_halves(uint16_t* out, long n, uint32_t bits) {
    long at = vectorStart();
    if (at + kVector <= n && aligned(reinterpret_cast<bf16*>(out))) {
        uint32_t pair = bits | bits << 16;
        *reinterpret_cast<uint4*>(out + at) = make_uint4(pair, pair, pair, pair);
    } else {
        for (int i = 0; i < kVector && at + i < n; ++i) {
            out[at + i] = static_cast<uint16_t>(bits);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) copy_int32_fp32(const int* in, float* out, long n) {
    long at = long(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at < n) {
        out[at] = static_cast<float>(in[at]);
    }
}

#define COPY(S, A, O) \
    extern "C" __global__ void __launch_bounds__(256) copy_##S(const A* in, O* out, long n) { copy(in, out, n); }
FOURFOLD_TYPES2(COPY)

#define ADD(S, A, B, O)                                                                              \
    extern "C" __global__ void __launch_bounds__(256) add_##S(const A* a, const B* b, O* out, long n) { \
        add(a, b, out, n);                                                                           \
    }
FOURFOLD_TYPES3(ADD)

#define ADD_SCALED(S, A, O)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256) add_scaled_##S(const A* a, float factor, O* out, long n) { \
        addScaled(a, factor, out, n);                                                                            \
    }
FOURFOLD_TYPES2(ADD_SCALED)

#define ADD_BIAS(S, B, O)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) add_bias_##S(const B* bias, O* out, int rows, int cols) { \
        addBias(bias, out, rows, cols);                                                                         \
    }
FOURFOLD_TYPES2(ADD_BIAS)

#define COLUMN_SUMS(S, A)                                                         \
    extern "C" __global__ void __launch_bounds__(128)                             \
        column_sums_##S(const A* x, int rows, int cols, int rowsPerSlice, float* partial) { \
        columnSums(x, rows, cols, rowsPerSlice, partial);                         \
    }
FOURFOLD_TYPES1(COLUMN_SUMS)

#define ADD_PARTIALS(S, O)                                                        \
    extern "C" __global__ void __launch_bounds__(256)                             \
        add_partials_##S(const float* partial, int count, int cols, O* out) {     \
        addPartials(partial, count, cols, out);                                   \
    }
FOURFOLD_TYPES1(ADD_PARTIALS)
