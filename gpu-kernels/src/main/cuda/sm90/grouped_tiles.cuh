// Which tiles of a grouped product a cluster of two blocks computes, in which order; and how shared memory is divided. For
// the structure see grouped_gemm_bf16_sm90a.cu.
#pragma once

#include <cstdint>

namespace fourfold {

constexpr int kTileRows = 128;
constexpr int kTileCols = 256;
constexpr int kThreads = 384;     // one producer warpgroup, two consumer warpgroups
constexpr int kBandPairs = 8;     // row tile pairs that walk the columns together, so that A stays in L2
constexpr int kMaxOrdered = 512; // groups that can be visited longest first
constexpr int kStagingCols = 32;  // FP32 columns a warpgroup hands to the copy engine at a time
constexpr int kStagingBytes = 64 * kStagingCols * 4;
constexpr int kStagingBuffers = 2;

// How shared memory is divided. kDepth: elements along K per stage; kStaged: results leave through shared memory.
template <int kDepth, int kStageCount, bool kStaged, int kElementBytes = 2>
struct Layout {
    static constexpr int depth = kDepth;
    static constexpr int stages = kStageCount;
    static constexpr int bytesA = kTileRows * kDepth * kElementBytes;
    static constexpr int bytesB = kTileCols * kDepth * kElementBytes;
    static constexpr int stageBytes = bytesA + bytesB;
    static constexpr int staging = stages * stageBytes;
    static constexpr int barriers = staging + (kStaged ? 2 * kStagingBuffers * kStagingBytes : 0);
    static constexpr int order = barriers + 2 * stages * 8;
    static constexpr int queue = order + kMaxOrdered * 2;
    static constexpr int total = queue + 64 + 1024 /* alignment */;
    static_assert(total <= 227 * 1024);
};

enum class Split { kRows, kDepth };
enum class Output { kBf16, kFp32, kFp32Accumulate };

struct Tile {
    int group;
    int row;      // first row of this block's tile: of A (kRows) or of C_g (kDepth)
    int col;      // first column of this block's tile
    bool stacked;  // the two blocks share B (one above the other) rather than A (side by side)
    int begin;    // offsets[group], or the group's start
    int end;      // behind the group's last row
};

// Walks the cluster tiles of all groups in a fixed order; every warp of a cluster walks alike.
template <Split kSplit>
class TileWalk {
public:
    // Group g has rows offsets[g] .. ends[g]. order: groups in the order to visit; null = ascending. starts: where the groups' elements are stored when that is not
    // at their offsets (padded groups); null = there.
    __device__ TileWalk(
        const int* offsets, const int* ends, const int* starts, const uint16_t* order, int groups, int fixedRows,
        int cols, int rank)
        : offsets_(offsets),
          ends_(ends),
          starts_(starts),
          order_(order),
          groups_(groups),
          fixedRows_(fixedRows),
          colTiles_((cols + kTileCols - 1) / kTileCols),
          rank_(rank),
          index_(blockIdx.x / 2) {
        load();
    }

    // This cluster's next tile when they are dealt out in turn.
    __device__ bool next(Tile& tile) {
        bool found = at(index_, tile);
        index_ += gridDim.x / 2;
        return found;
    }

    // Tile number index, which may not be smaller than the last one asked for; false behind the last one.
    __device__ bool at(int index, Tile& tile) {
        while (position_ < groups_ && index >= first_ + tiles_) {
            first_ += tiles_;
            ++position_;
            load();
        }
        if (position_ >= groups_) {
            return false;
        }
        int local = index - first_;
        int pairs = rowTiles_ / 2;
        // Bands as equal as can be: one of few pairs would read all of B for few rows.
        int bands = (pairs + kBandPairs - 1) / kBandPairs;
        int most = bands == 0 ? 0 : (pairs + bands - 1) / bands;
        int band = bands == 0 ? 0 : min(local / (most * colTiles_), bands - 1);
        int inBand = local - band * most * colTiles_;
        int bandPairs = min(most, pairs - band * most);
        int row;
        bool odd = rowTiles_ % 2 != 0 && band >= bands - 1;
        if (!odd) {
            int colTile = inBand / bandPairs;
            row = ((band * most + inBand - colTile * bandPairs) * 2 + rank_) * kTileRows;
            tile.col = colTile * kTileCols;
            tile.stacked = true;
        } else {
            // The odd row tile goes along with the last band, two columns at a time.
            int unit = inBand / (2 * bandPairs + 1);
            int inUnit = inBand - unit * (2 * bandPairs + 1);
            int unitCols = min(2, colTiles_ - 2 * unit);
            tile.stacked = inUnit < unitCols * bandPairs;
            if (tile.stacked) {
                int second = inUnit >= bandPairs ? 1 : 0;
                row = ((band * most + inUnit - second * bandPairs) * 2 + rank_) * kTileRows;
                tile.col = (2 * unit + second) * kTileCols;
            } else {
                row = (rowTiles_ - 1) * kTileRows;
                tile.col = (2 * unit + rank_) * kTileCols;
            }
        }
        tile.group = group_;
        tile.begin = begin_;
        tile.end = end_;
        tile.row = row + (kSplit == Split::kRows ? begin_ : 0);
        return true;
    }

private:
    __device__ void load() {
        if (position_ >= groups_) {
            return;
        }
        group_ = order_ == nullptr ? position_ : order_[position_];
        begin_ = __ldg(offsets_ + group_);
        end_ = __ldg(ends_ + group_);
        if (starts_ != nullptr) {
            int start = __ldg(starts_ + group_);
            end_ += start - begin_;
            begin_ = start;
        }
        int rows = kSplit == Split::kRows ? end_ - begin_ : fixedRows_;
        rowTiles_ = (rows + kTileRows - 1) / kTileRows;
        tiles_ = rowTiles_ / 2 * colTiles_ + rowTiles_ % 2 * ((colTiles_ + 1) / 2);
    }

    const int* offsets_;
    const int* ends_;
    const int* starts_;
    const uint16_t* order_;
    int groups_;
    int fixedRows_;
    int colTiles_;
    int rank_;
    int index_;
    int position_ = 0;
    int group_ = 0;
    int first_ = 0;
    int begin_ = 0;
    int end_ = 0;
    int rowTiles_ = 0;
    int tiles_ = 0;
};

// Lists the groups longest first: tiles of a large group take longest, so that none is left over at the end. All threads of
// the block take part and synchronize afterwards.
__device__ __forceinline__ void orderByLength(const int* offsets, int groups, uint16_t* order) {
    for (int g = threadIdx.x; g < groups; g += kThreads) {
        int span = __ldg(offsets + g + 1) - __ldg(offsets + g);
        int place = 0;
        for (int other = 0; other < groups; ++other) {
            int otherSpan = __ldg(offsets + other + 1) - __ldg(offsets + other);
            place += otherSpan > span || (otherSpan == span && other < g);
        }
        order[place] = static_cast<uint16_t>(g);
    }
}

}  // namespace fourfold
