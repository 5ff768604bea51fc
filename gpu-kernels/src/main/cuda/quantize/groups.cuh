// Rows of a matrix in groups (one per expert): equal groups of a given size, or groups split by offsets in device memory.
#pragma once

#include <cstdint>

namespace fourfold {

struct Groups {
    const int* offsets;  // [count + 1], or null: every group has `rows` rows
    const int* blocks;   // [count + 1], how many blocks of 16 (MXFP4: 32) rows lie before each group; used with offsets
    int count;
    int rows;
};

struct RowSpan {
    int group;
    int begin;  // first row of the group
    int end;
};

// Index of the last entry of an ascending list [count + 1] that is at most `value`; -1 before the first and past the end.
__device__ __forceinline__ int groupOf(const int* list, int count, int value) {
    if (value < __ldg(list) || value >= __ldg(list + count)) {
        return -1;
    }
    int low = 0;
    int high = count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (__ldg(list + middle) <= value) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// The group of a row; false before the first and behind the last group.
__device__ __forceinline__ bool spanOfRow(const Groups& groups, int row, RowSpan& span) {
    if (groups.offsets == nullptr) {
        span.group = row / groups.rows;
        span.begin = span.group * groups.rows;
        span.end = span.begin + groups.rows;
        return span.group < groups.count;
    }
    span.group = groupOf(groups.offsets, groups.count, row);
    if (span.group < 0) {
        return false;
    }
    span.begin = __ldg(groups.offsets + span.group);
    span.end = __ldg(groups.offsets + span.group + 1);
    return true;
}

// Block number `block` of kRows rows; blocks start at each group's first row. firstRow: its first row within the group.
template <int kRows = 16>
__device__ __forceinline__ bool spanOfBlock(const Groups& groups, int block, RowSpan& span, int& firstRow) {
    if (groups.offsets == nullptr) {
        int perGroup = (groups.rows + kRows - 1) / kRows;
        span.group = block / perGroup;
        span.begin = span.group * groups.rows;
        span.end = span.begin + groups.rows;
        firstRow = (block - span.group * perGroup) * kRows;
        return span.group < groups.count;
    }
    span.group = groupOf(groups.blocks, groups.count, block);
    if (span.group < 0) {
        return false;
    }
    span.begin = __ldg(groups.offsets + span.group);
    span.end = __ldg(groups.offsets + span.group + 1);
    firstRow = (block - __ldg(groups.blocks + span.group)) * kRows;
    return true;
}

}  // namespace fourfold
