// Which random bytes round which element; see io.fourfold.kernels.op.RandomStream and docs/numerics.md.
#pragma once

#include <cstdint>

#include "groups.cuh"
#include "nvfp4.cuh"

namespace fourfold {

struct RandomStream {
    uint64_t seed;
    uint32_t step;
    uint32_t tensorId;  // of group 0
    uint32_t copy;      // 0: operand by rows, 1: by columns
    const int* rowIds;  // null: a row's number is its position
    const int* columnGroups;  // [ceil(columns / 16)], for some columns of a wider matrix; null: column / 16 itself
};

// Row `row` of a group, counted from the group's first; p rows behind the last one have the id -1 - p (Hadamard padding).
__device__ __forceinline__ uint32_t rowId(const RandomStream& random, const RowSpan& span, int row) {
    int rows = span.end - span.begin;
    if (row >= rows) {
        return static_cast<uint32_t>(-1 - (row - rows));
    }
    int position = span.begin + row;
    return static_cast<uint32_t>(random.rowIds == nullptr ? position : __ldg(random.rowIds + position));
}

// 16 bytes for columns columnGroup * 16 .. + 15 of a row; the group must exist in the matrix.
__device__ __forceinline__ uint4 randomBytes(const RandomStream& random, const RowSpan& span, int row, int columnGroup) {
    int place = random.columnGroups == nullptr ? columnGroup : __ldg(random.columnGroups + columnGroup);
    return philox(make_uint2(static_cast<uint32_t>(random.seed), static_cast<uint32_t>(random.seed >> 32)),
                  make_uint4(static_cast<uint32_t>(place), rowId(random, span, row),
                             (random.tensorId + span.group) * 2 + random.copy, random.step));
}

}  // namespace fourfold
