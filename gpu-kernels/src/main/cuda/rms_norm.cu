// RMSNorm (arXiv:1910.07467) of rows x [T, H] with r = 1 / sqrt(mean(x^2) + eps):
//
//   forward   y = x r w
//   backward  dx (+)= r w dy - x r^3 mean(w dy x);   dw += sum over t of dy x r
//
// Forward: one warp per row; up to kHeld vectors of a lane stay in registers, longer rows are read twice.
// Backward: a block owns every column (eight per thread and step) and walks over rows with a stride, so that dw stays in
// registers; each block writes one row of partial sums, which add_partials of elementwise.cu adds in block order.
// FP32 arithmetic, one rounding per store; 16-byte accesses where H is a multiple of 8.

#include "ops/vector.cuh"

namespace fourfold {

constexpr int kWarps = 4;
constexpr int kHeld = 4;
constexpr int kStep = kWarp * kVector;

template <class T, class O>
__device__ __forceinline__ void forward(const T* x, const float* weight, float eps, O* y, float* rstd, int rows, int cols) {
    int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= rows) {
        return;
    }
    const T* from = x + long(row) * cols;
    O* to = y + long(row) * cols;
    bool wideX = aligned(x, cols), wideW = aligned(weight), wideY = aligned(y, cols);
    int first = threadIdx.x % kWarp * kVector;
    float held[kHeld][kVector];
    float squares = 0.f;
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
        int col = first + h * kStep;
        load8(from + col, cols - col, wideX, held[h]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            squares += held[h][i] * held[h][i];
        }
    }
#pragma unroll 2
    for (int col = first + kHeld * kStep; col < cols; col += kStep) {
        float v[kVector];
        load8(from + col, cols - col, wideX, v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            squares += v[i] * v[i];
        }
    }
    float r = static_cast<float>(1.0 / sqrt(static_cast<double>(groupSum(squares) / cols + eps)));
    if (first == 0) {
        rstd[row] = r;
    }
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
        int col = first + h * kStep;
        if (col < cols) {
            float w[kVector];
            load8(weight + col, cols - col, wideW, w);
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                held[h][i] = held[h][i] * r * w[i];
            }
            store8(to + col, cols - col, wideY, held[h]);
        }
    }
#pragma unroll 2
    for (int col = first + kHeld * kStep; col < cols; col += kStep) {
        float v[kVector], w[kVector];
        load8(from + col, cols - col, wideX, v);
        load8(weight + col, cols - col, wideW, w);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            v[i] = v[i] * r * w[i];
        }
        store8(to + col, cols - col, wideY, v);
    }
}

// Sum over the block; two buffers in turn, so one barrier per call is enough.
__device__ __forceinline__ float blockSum(float x, float (&buffer)[kWarp], int warps) {
    x = groupSum(x);
    if (threadIdx.x % kWarp == 0) {
        buffer[threadIdx.x / kWarp] = x;
    }
    __syncthreads();
    float sum = 0.f;
    for (int i = 0; i < warps; ++i) {
        sum += buffer[i];
    }
    return sum;
}

// kVectors: vectors per thread; blockDim.x * kVectors * 8 columns at least.
template <int kVectors, class D, class T, class G>
__device__ __forceinline__ void backward(
    const D* dy, const T* x, const float* weight, const float* rstd, G* dx, int accumulate, float* partial, int rows, int cols) {
    __shared__ float buffers[2][kWarp];
    bool wideDy = aligned(dy, cols), wideX = aligned(x, cols), wideW = aligned(weight), wideDx = aligned(dx, cols);
    int warps = blockDim.x / kWarp;
    float dw[kVectors][kVector] = {};
    int turn = 0;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        float d[kVectors][kVector], v[kVectors][kVector];
        float dot = 0.f;
        float r = rstd[row];
        long at = long(row) * cols;
#pragma unroll
        for (int k = 0; k < kVectors; ++k) {
            int col = (k * blockDim.x + threadIdx.x) * kVector;
            load8(dy + at + col, cols - col, wideDy, d[k]);
            load8(x + at + col, cols - col, wideX, v[k]);
        }
#pragma unroll
        for (int k = 0; k < kVectors; ++k) {
            int col = (k * blockDim.x + threadIdx.x) * kVector;
            float w[kVector];
            load8(weight + col, cols - col, wideW, w);
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                dw[k][i] += d[k][i] * (v[k][i] * r);
                d[k][i] *= w[i];
                dot += d[k][i] * v[k][i];
            }
        }
        float along = r * r * r * (blockSum(dot, buffers[turn], warps) / cols);
        turn ^= 1;
#pragma unroll
        for (int k = 0; k < kVectors; ++k) {
            int col = (k * blockDim.x + threadIdx.x) * kVector;
            if (col < cols) {
                float z[kVector] = {};
                if (accumulate) {
                    load8(dx + at + col, cols - col, wideDx, z);
                }
#pragma unroll
                for (int i = 0; i < kVector; ++i) {
                    z[i] += r * d[k][i] - along * v[k][i];
                }
                store8(dx + at + col, cols - col, wideDx, z);
            }
        }
    }
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
        int col = (k * blockDim.x + threadIdx.x) * kVector;
        if (col < cols) {
            store8(partial + long(blockIdx.x) * cols + col, cols - col, cols % kVector == 0, dw[k]);
        }
    }
}

}  // namespace fourfold

using namespace fourfold;

#define FORWARD(S, T, O)                                                                                   \
    extern "C" __global__ void __launch_bounds__(128)                                                      \
        rms_norm_##S(const T* x, const float* weight, float eps, O* y, float* rstd, int rows, int cols) {  \
        forward(x, weight, eps, y, rstd, rows, cols);                                                      \
    }
FOURFOLD_TYPES2(FORWARD)

// Types: of dy, x, dx. The number is the vectors per thread.
#define BACKWARD(S, D, T, G)                                                                               \
    extern "C" __global__ void __launch_bounds__(512)                                                      \
        rms_norm_backward1_##S(const D* dy, const T* x, const float* weight, const float* rstd, G* dx,     \
                               int accumulate, float* partial, int rows, int cols) {                       \
        backward<1>(dy, x, weight, rstd, dx, accumulate, partial, rows, cols);                             \
    }                                                                                                      \
    extern "C" __global__ void __launch_bounds__(512)                                                      \
        rms_norm_backward2_##S(const D* dy, const T* x, const float* weight, const float* rstd, G* dx,     \
                               int accumulate, float* partial, int rows, int cols) {                       \
        backward<2>(dy, x, weight, rstd, dx, accumulate, partial, rows, cols);                             \
    }
FOURFOLD_TYPES3(BACKWARD)
