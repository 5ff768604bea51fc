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
    int perSequence = tiles * queries, shift = dim == 64 ? 2 : 3, lane = threadIdx.x % (1 << shift);
    unsigned item = static_cast<unsigned>((long(blockIdx.x) * 256 + threadIdx.x) >> shift);
    if (item >= unsigned(batch) * perSequence * heads) {
        return;  // whole groups of lanes
    }
    unsigned padded = item / heads;
    int head = item - padded * heads, b = padded / perSequence;
    int within = padded - b * perSequence, m = within / queries, r = within % queries;
    TilePlace at = dim == 64 ? rowsOf.template place<Backward64::queries>(m) : rowsOf.template place<Backward128::queries>(m);
    int perChunk = rowsOf.length, row = at.row + r;
    float dot = 0.f;
    if (row < perChunk) {
        float x[2][kVector], y[2][kVector];
        long token = (long(b) * rowsOf.count() + at.chunk) * perChunk + row;
        long from = (token * heads + head) * dim + lane * kVector;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            loadWide(dout + from + half * dim / 2, x[half]);
            loadWide(out + from + half * dim / 2, y[half]);
        }
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            dot += x[0][i] * y[0][i] + x[1][i] * y[1][i];
        }
    }
    unsigned group = (dim == 64 ? 0xfu : 0xffu) << (threadIdx.x % 32 >> shift << shift);
    for (int step = 1 << shift >> 1; step > 0; step /= 2) {
        dot += __shfl_xor_sync(group, dot, step);
    }
    if (lane == 0) {
        long tile = (long(b) * heads + head) * tiles + m;
        float* to = rows + tile * (3 * queries + 4);
        int place = r / 16 * 16 + r % 8 / 2 * 4 + r / 8 % 2 * 2 + r % 2;  // four columns of a thread side by side
        float sum = INFINITY;  // of a row that is not there; one that saw no keys has no probabilities either
        if (row < perChunk) {
            float logs = logSumExp[((long(b) * heads + head) * rowsOf.count() + at.chunk) * perChunk + row];
            sum = logs == -INFINITY ? INFINITY : logs * kLog2E;
        }
        to[place] = sum;
        to[queries + place] = dot;
        to[2 * queries + r] = __int_as_float(documentStart[long(b) * sequence + at.position - at.row + min(row, perChunk - 1)]);
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
