// What the Hopper attention kernels share: the order in which blocks take tiles, rings of stages, small arithmetic.
#pragma once

#include "ops/token_chunks.cuh"
#include "ops/vector.cuh"
#include "ptx.cuh"

namespace fourfold {

constexpr float kLog2E = 1.4426950408889634f;

__device__ __forceinline__ float exp2Fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Four 8x8 matrices of BF16 into shared memory; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void storeMatrices(uint32_t row, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(a), "r"(b), "r"(c), "r"(d)
                 : "memory");
}

template <int kStages>
struct Ring {
    int stage = 0;
    uint32_t parity = 0;
    __device__ __forceinline__ int previous() const { return stage == 0 ? kStages - 1 : stage - 1; }
    __device__ __forceinline__ void next() {
        if (++stage == kStages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

struct QueryTile {
    int batch, head;
    TilePlace at;
};

struct KeyTile {
    int batch, kvHead, number;
};

template <class Rows>
struct AttentionTiles {
    int batch, sequence, heads, kvHeads;
    int sectionHeads;  // (batch, head) or (batch, key head) pairs that walk the sequence together, for the sake of the L2
    float scale;
    Rows queries, keys;

    __device__ __forceinline__ int group() const { return fresh(heads) / kvHeads; }

    // Column of a head's keys in their tensor; the values are kvHeads further.
    __device__ __forceinline__ int keyColumn(int kvHead, int dim) const { return ((Rows::packed ? heads : 0) + kvHead) * dim; }

    // The tile of queries this block takes in a round; false when there is none. Longest first in the last section, shortest
    // first in the one before, and so on: lengths change smoothly, and blocks take turns at being first, so shares are equal.
    template <int kQueries>
    __device__ __forceinline__ bool queryTile(int round, QueryTile& tile) const {
        int levels = queries.template tiles<kQueries>();
        int level, sectionsLeft;
        int index = round * gridDim.x + (round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
        if (!place(index, levels, batch * heads, heads, tile.batch, tile.head, level, sectionsLeft)) {
            return false;
        }
        tile.at = queries.template place<kQueries>(sectionsLeft % 2 == 0 ? levels - 1 - level : level);
        return true;
    }

    // Tile number index of keys, longest first in every section; false beyond the last.
    template <int kKeys>
    __device__ __forceinline__ bool keyTile(int index, KeyTile& tile) const {
        int sectionsLeft;
        return place(index, keys.template tiles<kKeys>(), batch * kvHeads, kvHeads, tile.batch, tile.kvHead, tile.number, sectionsLeft);
    }

private:
    // Sections one after the other, in each level by level.
    __device__ __forceinline__ bool place(int index, int levels, int all, int perBatch, int& b, int& head, int& level,
                                          int& sectionsLeft) const {
        int perSection = fresh(sectionHeads) * levels;
        perBatch = fresh(perBatch);
        if (index >= all * levels) {
            return false;
        }
        int section = index / perSection;
        int within = index - section * perSection;
        int count = min(sectionHeads, all - section * sectionHeads);
        sectionsLeft = (all - 1) / fresh(sectionHeads) - section;
        level = within / count;
        int item = section * sectionHeads + within - level * count;
        b = item / perBatch;
        head = item - b * perBatch;
        return true;
    }
};

}  // namespace fourfold
