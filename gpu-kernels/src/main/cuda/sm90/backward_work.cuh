// Attention backward: what a block works on, and where it finds it.
#pragma once

#include "attention_backward.cuh"

namespace fourfold {

struct BackwardMaps {
    const CUtensorMap* queries;
    const CUtensorMap* keys;
    const CUtensorMap* dout;
    const CUtensorMap* dqkv;
    const CUtensorMap* dkv;
};

// Gradients of keys where the copy engine does not write them: zeros of those that no query sees, and sums of parts.
struct KeyGradients {
    bf16* written;
    float* added;
};

struct BackwardRows {
    const int* start;   // [B, S]
    const float* rows;  // [B, H, T][3 queries + 4]: lse times log2 e, infinite beyond the last; delta; document start as int;
                        // and once the place of the first in the sequence, as int
    float* dq;          // [B, H, T][queries * D], in the order of accumulator registers
    int* added;         // [B, H, T]: how many tiles of keys have added theirs
    int* taken;         // how many tiles of keys blocks have begun
};

// What a block does in a round; two of them in shared memory, in turn. batch is negative when nothing is left. keyRow: in its
// chunk, tensorBatch: that chunk; key, lastKey: places in the sequence.
struct Work {
    int batch, kvHead, number, firstTile, endTile, tensorBatch, keyRow, key, lastKey, unused[3];
};

// Byte offsets in it.
constexpr int kBatch = 0, kKvHead = 4, kFirstTile = 12, kEndTile = 16, kTensorBatch = 20, kKeyRow = 24, kKey = 28, kLastKey = 32;

// Tiles of queries [first, end) that see any of a tile of keys.
template <class L, class Rows>
__device__ __forceinline__ int2 queryRange(const AttentionTiles<Rows>& shape, const int* start, int key, int lastKey) {
    int first = shape.queries.template tileFrom<L::queries>(key);
    int low = first, high = shape.queries.template tiles<L::queries>();  // the first tile of later documents is among them
    while (low < high) {
        int middle = (low + high) / 2;
        if (__ldg(start + shape.queries.template place<L::queries>(middle).position) <= lastKey) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return make_int2(first, low);
}

using Backward64 = BackwardLayout<64, 128>;
using Backward128 = BackwardLayout<128, 64>;

}  // namespace fourfold
