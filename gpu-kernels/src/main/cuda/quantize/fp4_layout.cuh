// Where FP4 tensor cores expect codes and scales: rows of codes padded to whole 64 elements, scales in tiles of 128 rows by 4
// blocks. Where a group's begin: io.fourfold.kernels.quant.Nvfp4Layout.
#pragma once

#include <cstdint>

#include "groups.cuh"

namespace fourfold {

constexpr int kDepthUnit = 64;      // stored K is a multiple: four blocks, a tile of scales
constexpr int kScaleTileRows = 128;

struct Codes {
    uint8_t* codes;
    uint8_t* scales;
    const int* starts;  // [groups + 1], rows of codes or of scales before each group, padded; null for equal groups
};

__device__ __forceinline__ int roundUp(int value, int unit) {
    return (value + unit - 1) / unit * unit;
}

// Position of scale (row, block) of an operand with `stored` elements a row: tiles of 128 rows and 4 blocks.
__device__ __forceinline__ long scalePosition(int row, int block, int stored) {
    long tile = long(row / kScaleTileRows) * (stored / kDepthUnit) + block / 4;
    int inTile = row % kScaleTileRows;
    return tile * 512 + inTile % 32 * 16 + inTile / 32 * 4 + block % 4;
}

// Writes a block: operand row, block along K.
__device__ __forceinline__ void storeBlock(
    const Codes& out, const Groups& groups, const RowSpan& span, bool byColumns, int cols, int row, int block, uint2 codes,
    uint32_t scaleByte) {
    int size = span.end - span.begin;
    int rows = byColumns ? cols : size;
    int stored = roundUp(byColumns ? size : cols, kDepthUnit);
    long codeStart, scaleStart;
    if (groups.offsets == nullptr) {
        codeStart = long(span.group) * rows * (stored / 2);
        scaleStart = long(span.group) * roundUp(rows, kScaleTileRows) * (stored / 16);
    } else if (byColumns) {
        long depth = __ldg(out.starts + span.group);
        codeStart = depth / 2 * rows;
        scaleStart = depth / 16 * roundUp(rows, kScaleTileRows);
    } else {
        codeStart = long(span.begin) * (stored / 2);
        scaleStart = long(__ldg(out.starts + span.group)) * (stored / 16);
    }
    *reinterpret_cast<uint2*>(out.codes + codeStart + long(row) * (stored / 2) + block * 8) = codes;
    out.scales[scaleStart + scalePosition(row, block, stored)] = static_cast<uint8_t>(scaleByte);
}

}  // namespace fourfold
