// Which tokens of every sequence are rows of a tensor: chunks of equal length, in ascending order (the Java record
// kernels.op.TokenChunks). A kernel takes it by value; rows are ordered by sequence, then chunk, then token.
#pragma once

namespace fourfold {

constexpr int kMostChunks = 8;

// The same value, but unknown to the compiler: what is computed from it cannot move out of a loop and hold registers there.
template <class T>
__device__ __forceinline__ T fresh(T value) {
    asm volatile("" : "+r"(value));
    return value;
}

struct TokenChunks {
    int count, length;
    int starts[kMostChunks];

    // Rows of one sequence.
    __device__ __forceinline__ int rows() const { return count * length; }

    // Place in its whole sequence of a row of one sequence.
    __device__ __forceinline__ int position(int row) const {
        int chunk = row / length;
        return starts[chunk] + row - chunk * length;
    }

    // How many rows come before a token of the sequence: the first row at or after it.
    __device__ __forceinline__ int rowsBefore(int token) const {
        int before = 0;
        for (int chunk = 0; chunk < count; ++chunk) {
            before += max(0, min(length, token - starts[chunk]));
        }
        return before;
    }
};

// A tile of rows: its chunk, its first row there, and that row's place in the whole sequence.
struct TilePlace {
    int chunk, row, position;
};

// Rows are whole sequences, of queries, keys and values side by side.
struct WholeRows {
    static constexpr bool packed = true;
    int length;

    __device__ __forceinline__ int count() const { return 1; }

    template <int kTile>
    __device__ __forceinline__ int tiles() const {
        return (length + kTile - 1) / kTile;
    }

    template <int kTile>
    __device__ __forceinline__ TilePlace place(int tile) const {
        return {0, tile * kTile, tile * kTile};
    }

    // First tile with a row at or after a token.
    template <int kTile>
    __device__ __forceinline__ int tileFrom(int token) const {
        return token / kTile;
    }

    // Last tile with a row at or before a token.
    template <int kTile>
    __device__ __forceinline__ int tileUntil(int token) const {
        return token / kTile;
    }

    // Last token of a tile; those beyond the sequence are after every query.
    template <int kTile>
    __device__ __forceinline__ int lastToken(const TilePlace& tile) const {
        return tile.position + kTile - 1;
    }
};

// Rows are chunks of sequences (context parallelism), queries packed with unused keys and values, keys and values on their own.
// Tiles do not cross chunks; their numbers ascend with their tokens, so what a tile sees is a range of numbers.
struct ChunkRows {
    static constexpr bool packed = false;
    const TokenChunks& chunks;
    int length;

    __device__ __forceinline__ int count() const { return chunks.count; }

    template <int kTile>
    __device__ __forceinline__ int tilesOfChunk() const {
        return (length + kTile - 1) / kTile;
    }

    template <int kTile>
    __device__ __forceinline__ int tiles() const {
        return chunks.count * tilesOfChunk<kTile>();
    }

    template <int kTile>
    __device__ __forceinline__ TilePlace place(int tile) const {
        int chunk = 0;
        for (int some = tilesOfChunk<kTile>(); tile >= some; tile -= some) {
            ++chunk;
        }
        return {chunk, tile * kTile, chunks.starts[chunk] + tile * kTile};
    }

    template <int kTile>
    __device__ __forceinline__ int tileFrom(int token) const {
        int chunk = 0;
        while (chunk < chunks.count && token >= chunks.starts[chunk] + length) {
            ++chunk;
        }
        int row = chunk < chunks.count ? max(0, token - chunks.starts[chunk]) : 0;
        return chunk * tilesOfChunk<kTile>() + row / kTile;
    }

    template <int kTile>
    __device__ __forceinline__ int tileUntil(int token) const {
        int chunk = chunks.count - 1;
        while (chunk >= 0 && token < chunks.starts[chunk]) {
            --chunk;
        }
        return chunk < 0 ? -1 : chunk * tilesOfChunk<kTile>() + min(token - chunks.starts[chunk], length - 1) / kTile;
    }

    template <int kTile>
    __device__ __forceinline__ int lastToken(const TilePlace& tile) const {
        return tile.position + min(kTile, length - tile.row) - 1;
    }
};

}  // namespace fourfold
