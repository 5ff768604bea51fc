// Attention backward, before the products: delta = sum dO O, rows of queries padded to tiles, counters.
#pragma once

#include "backward_work.cuh"

namespace fourfold {

template <class Rows>
__device__ __forceinline__ void prepareRows(
    const Rows& rowsOf, const bf16* dout, const bf16* out, const float* logSumExp, const int* documentStart, float* rows, int* added,
    int batch, int sequence, int heads, int dim) {
    int queries = dim == 64 ? Backward64::queries : Backward128::queries;
    int tiles = dim == 64 ? rowsOf.template tiles<Backward64::queries>() : rowsOf.template tiles<Backward128::queries>();
    int lanes = dim / kVector, perSequence = tiles * queries;
    long item = (long(blockIdx.x) * 256 + threadIdx.x) / lanes;
    int lane = threadIdx.x % lanes;
    if (item >= long(batch) * perSequence * heads) {
        return;  // whole groups of lanes
    }
    long padded = item / heads;
    int head = static_cast<int>(item - padded * heads), b = static_cast<int>(padded / perSequence);
    int within = static_cast<int>(padded - long(b) * perSequence), m = within / queries, r = within % queries;
    TilePlace at = dim == 64 ? rowsOf.template place<Backward64::queries>(m) : rowsOf.template place<Backward128::queries>(m);
    int perChunk = rowsOf.length, row = at.row + r;
    float dot = 0.f;
    if (row < perChunk) {
        float x[kVector], y[kVector];
        long token = (long(b) * rowsOf.count() + at.chunk) * perChunk + row;
        loadWide(dout + (token * heads + head) * dim + lane * kVector, x);
        loadWide(out + (token * heads + head) * dim + lane * kVector, y);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            dot += x[i] * y[i];
        }
    }
    unsigned group = (lanes == 16 ? 0xffffu : 0xffu) << (threadIdx.x % 32 / lanes * lanes);
    for (int step = lanes / 2; step > 0; step /= 2) {
        dot += __shfl_xor_sync(group, dot, step);
    }
    if (lane == 0) {
        long tile = (long(b) * heads + head) * tiles + m;
        float* to = rows + tile * (3 * queries + 4) + r;
        float sum = INFINITY;  // of a row that is not there; one that saw no keys has no probabilities either
        if (row < perChunk) {
            float logs = logSumExp[((long(b) * heads + head) * rowsOf.count() + at.chunk) * perChunk + row];
            sum = logs == -INFINITY ? INFINITY : logs * kLog2E;
        }
        to[0] = sum;
        to[queries] = dot;
        to[2 * queries] = __int_as_float(documentStart[long(b) * sequence + at.position - at.row + min(row, perChunk - 1)]);
        if (r == 0) {
            to[3 * queries] = __int_as_float(at.position);
            added[tile + 1] = 0;
        }
        if (item == 0) {
            added[0] = 0;
        }
    }
}

}  // namespace fourfold
