// A tile of 128 x 128 elements becomes E4M3 codes by rows, by columns, or both, from one read: a thread takes 8 rows of 8
// columns, writes their codes along the rows, and hands them transposed to shared memory, from where they leave along the
// columns. Tiles begin at each group's first row.
#pragma once

#include "fp8.cuh"
#include "groups.cuh"
#include "load.cuh"

namespace fourfold {

constexpr int kFp8Tile = 128;
constexpr int kFp8Threads = 256;

// What factors the codes have.
enum class Fp8Scaling {
    kGroup,    // one a group, given its amax
    kVectors,  // one for 128 elements along K: of a row for the copy by rows, of a column for the copy by columns
    kSquares,  // one for 128 x 128
};

struct Fp8Source {
    int cols;
    Groups groups;
    const int* starts;  // ragged: first row of each group in the copy by columns, multiples of 128
    const float* amax;  // kGroup: [groups]
};

// What is written; codes null = not wanted. Factors:
//   kGroup    rowScale, columnScale [groups]
//   kVectors  rowScale [ceil(cols / 128)][rowScaleStride], columnScale [tiles along the rows][cols]
//   kSquares  rowScale [group][ceil(rows / 128)][ceil(cols / 128)], columnScale the transpose of each group's
struct Fp8Copies {
    uint8_t* rowCodes;     // layout of the source
    uint8_t* columnCodes;  // [cols, stride], of each group where they are equal
    float* rowScale;
    float* columnScale;
    int rowScaleStride;
    int stride;
};

struct Fp8TilePlace {
    int group;
    int source;   // first row in the source
    int present;  // rows of the group from there on; 0 or less: padding
    int to;       // first row in the copy by columns
};

__device__ __forceinline__ bool locateTile(const Groups& groups, const int* starts, int tile, Fp8TilePlace& place) {
    if (groups.offsets == nullptr) {
        int perGroup = (groups.rows + kFp8Tile - 1) / kFp8Tile;
        place.group = tile / perGroup;
        place.to = (tile - place.group * perGroup) * kFp8Tile;
        place.source = place.group * groups.rows + place.to;
        place.present = groups.rows - place.to;
        return true;
    }
    place.to = tile * kFp8Tile;
    place.group = groupOf(starts, groups.count, place.to);
    if (place.group < 0) {
        return false;
    }
    place.source = __ldg(groups.offsets + place.group) + place.to - __ldg(starts + place.group);
    place.present = __ldg(groups.offsets + place.group + 1) - place.source;
    return true;
}

struct Fp8TileIndex {
    int row;
    int column;
};

// This block's tile of a grid (tiles along the rows, tiles along the columns). Blocks go down the matrix in panels of 16 tiles of
// rows: they meet in the L2 cache what a pass that went up has read last, and write whole lines of the copy by columns.
__device__ __forceinline__ Fp8TileIndex tileOfPanel() {
    constexpr int kPanel = 16;
    int linear = blockIdx.y * gridDim.x + blockIdx.x;
    int panel = linear / (kPanel * int(gridDim.y));
    int within = linear - panel * kPanel * int(gridDim.y);
    int height = min(kPanel, int(gridDim.x) - panel * kPanel);
    int column = within / height;
    return {panel * kPanel + within - column * height, column};
}

// Eight neighbouring values of a row as loaded.
template <class T>
struct Octet;

template <>
struct Octet<__nv_bfloat16> {
    uint4 q;
    __device__ __forceinline__ void clear() { q = make_uint4(0, 0, 0, 0); }
    __device__ __forceinline__ void load(const __nv_bfloat16* from) { q = __ldcs(reinterpret_cast<const uint4*>(from)); }
    // Of values that will be read again.
    __device__ __forceinline__ void loadCached(const __nv_bfloat16* from) {
        q = __ldg(reinterpret_cast<const uint4*>(from));
    }
    __device__ __forceinline__ void values(float (&v)[8]) const {
        uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float2 pair = unpackBf16(words[i]);
            v[i * 2] = pair.x;
            v[i * 2 + 1] = pair.y;
        }
    }
};

template <>
struct Octet<float> {
    float4 a, b;
    __device__ __forceinline__ void clear() { a = b = make_float4(0.f, 0.f, 0.f, 0.f); }
    __device__ __forceinline__ void load(const float* from) {
        a = __ldcs(reinterpret_cast<const float4*>(from));
        b = __ldcs(reinterpret_cast<const float4*>(from) + 1);
    }
    __device__ __forceinline__ void loadCached(const float* from) {
        a = __ldg(reinterpret_cast<const float4*>(from));
        b = __ldg(reinterpret_cast<const float4*>(from) + 1);
    }
    __device__ __forceinline__ void values(float (&v)[8]) const {
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    }
};

// Words of four bytes each, row by row, to column by column.
__device__ __forceinline__ void transpose4x4(uint32_t (&w)[4]) {
    uint32_t a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[2], w[3], 0x5140);
    uint32_t c = __byte_perm(w[0], w[1], 0x7362), d = __byte_perm(w[2], w[3], 0x7362);
    w[0] = __byte_perm(a, b, 0x5410);
    w[1] = __byte_perm(a, b, 0x7632);
    w[2] = __byte_perm(c, d, 0x5410);
    w[3] = __byte_perm(c, d, 0x7632);
}

// Codes of 8 rows x 8 columns, row i in codes[i], to their place in a transposed tile. The pairs of words of a column are
// stored in an order that depends on the column, so that neither this nor the reading back meets bank conflicts.
__device__ __forceinline__ void storeTransposed(uint2 (&tile)[kFp8Tile][16], const uint2 (&codes)[8], int octet, int slot) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        uint32_t top[4], bottom[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            top[i] = half ? codes[i].y : codes[i].x;
            bottom[i] = half ? codes[i + 4].y : codes[i + 4].x;
        }
        transpose4x4(top);
        transpose4x4(bottom);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            tile[octet * 8 + half * 4 + i][slot ^ octet] = make_uint2(top[i], bottom[i]);
        }
    }
}

// 16 rows of a column of the transposed tile.
__device__ __forceinline__ uint4 loadTransposed(const uint2 (&tile)[kFp8Tile][16], int column, int chunk) {
    int octet = column / 8;
    uint4 q = reinterpret_cast<const uint4*>(tile[column])[chunk ^ octet >> 1];
    return octet & 1 ? make_uint4(q.z, q.w, q.x, q.y) : q;
}

__device__ __forceinline__ uint2 encodeOctet(const float (&v)[8], float encode) {
    return make_uint2(encodePair(v[0], v[1], encode, encode) | encodePair(v[2], v[3], encode, encode) << 16,
                      encodePair(v[4], v[5], encode, encode) | encodePair(v[6], v[7], encode, encode) << 16);
}

// A transposed tile to the copy by columns.
__device__ __forceinline__ void writeColumns(
    const uint2 (&tile)[kFp8Tile][16], const Fp8TilePlace& place, int columnTile, const Fp8Source& from, const Fp8Copies& to) {
    uint8_t* out = to.columnCodes + (from.groups.offsets == nullptr ? long(place.group) * from.cols * to.stride : 0);
#pragma unroll
    for (int pass = 0; pass < 4; ++pass) {
        int c = pass * 32 + threadIdx.x / 8;
        int chunk = threadIdx.x % 8;
        int k = place.to + chunk * 16;
        if (columnTile * kFp8Tile + c < from.cols && k < to.stride) {
            *reinterpret_cast<uint4*>(out + long(columnTile * kFp8Tile + c) * to.stride + k) = loadTransposed(tile, c, chunk);
        }
    }
}

// Factors of kGroup, by the first block.
__device__ __forceinline__ void writeGroupScales(const Fp8Source& from, const Fp8Copies& to) {
    if (blockIdx.x == 0 && blockIdx.y == 0) {
        for (int g = threadIdx.x; g < from.groups.count; g += kFp8Threads) {
            float decode = fp8Scale(from.amax[g]).decode;
            if (to.rowCodes != nullptr) {
                to.rowScale[g] = decode;
            }
            if (to.columnCodes != nullptr) {
                to.columnScale[g] = decode;
            }
        }
    }
}

// A thread's part of a tile, rows slot * 8 .. + 7 and columns octet * 8 .. + 7, is in `raw`; zeros where nothing exists.
// columnTile: number of the tile along the columns, columnTiles: of all.
template <Fp8Scaling kScaling, class T>
__device__ __forceinline__ void quantizeOctets(
    const Octet<T> (&raw)[8], const Fp8TilePlace& place, int columnTile, int columnTiles, const Fp8Source& from,
    const Fp8Copies& to) {
    __shared__ uint2 tile[kFp8Tile][16];
    __shared__ uint32_t largest[kScaling == Fp8Scaling::kGroup ? 1 : 8][kFp8Tile];
    __shared__ float factor[kFp8Tile];
    int octet = threadIdx.x % 16;
    int slot = threadIdx.x / 16;
    int col = columnTile * kFp8Tile + octet * 8;

    float common = 1.f;
    uint32_t down[8] = {};  // largest magnitudes of the columns
    uint32_t along[8];      // of the rows
    if constexpr (kScaling == Fp8Scaling::kGroup) {
        common = fp8Scale(__ldg(from.amax + place.group)).encode;
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            float v[8];
            raw[i].values(v);
            along[i] = 0;
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                uint32_t bits = magnitudeBits(v[j]);
                along[i] = max(along[i], bits);
                down[j] = max(down[j], bits);
            }
        }
    }
    if constexpr (kScaling == Fp8Scaling::kSquares) {
        uint32_t bits = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            bits = max(bits, along[i]);
        }
        bits = __reduce_max_sync(0xffffffffu, bits);
        if (threadIdx.x % 32 == 0) {
            largest[0][threadIdx.x / 32] = bits;
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            bits = max(bits, largest[0][i]);
        }
        Fp8Scale scale = fp8Scale(__uint_as_float(bits));
        common = scale.encode;
        if (threadIdx.x == 0) {
            int down128 = (from.groups.rows + kFp8Tile - 1) / kFp8Tile;
            int across = columnTiles;
            int y = place.to / kFp8Tile;
            if (to.rowCodes != nullptr) {
                to.rowScale[(place.group * down128 + y) * across + columnTile] = scale.decode;
            }
            if (to.columnCodes != nullptr) {
                to.columnScale[(place.group * across + columnTile) * down128 + y] = scale.decode;
            }
        }
    }
    float acrossFactor[8];  // of this thread's columns
    if constexpr (kScaling == Fp8Scaling::kVectors) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int distance = 1; distance < 16; distance *= 2) {
                along[i] = max(along[i], __shfl_xor_sync(0xffffffffu, along[i], distance));
            }
        }
        if (to.columnCodes != nullptr) {
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                down[j] = max(down[j], __shfl_xor_sync(0xffffffffu, down[j], 16));
            }
            if (threadIdx.x % 32 < 16) {
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    largest[threadIdx.x / 32][octet * 8 + j] = down[j];
                }
            }
            __syncthreads();
            if (threadIdx.x < kFp8Tile) {
                uint32_t bits = 0;
#pragma unroll
                for (int w = 0; w < 8; ++w) {
                    bits = max(bits, largest[w][threadIdx.x]);
                }
                Fp8Scale scale = fp8Scale(__uint_as_float(bits));
                factor[threadIdx.x] = scale.encode;
                int c = columnTile * kFp8Tile + threadIdx.x;
                if (c < from.cols) {
                    to.columnScale[long(place.to / kFp8Tile) * from.cols + c] = scale.decode;
                }
            }
            __syncthreads();
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                acrossFactor[j] = factor[octet * 8 + j];
            }
        }
    }

    uint2 codes[8];
    if (kScaling != Fp8Scaling::kVectors || to.rowCodes != nullptr) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            float v[8];
            raw[i].values(v);
            float encode = common;
            int r = slot * 8 + i;
            if constexpr (kScaling == Fp8Scaling::kVectors) {
                Fp8Scale scale = fp8Scale(__uint_as_float(along[i]));
                encode = scale.encode;
                if (octet == 0 && r < place.present) {
                    to.rowScale[long(columnTile) * to.rowScaleStride + place.source + r] = scale.decode;
                }
            }
            codes[i] = encodeOctet(v, encode);
            if (to.rowCodes != nullptr && r < place.present && col < from.cols) {
                *reinterpret_cast<uint2*>(to.rowCodes + long(place.source + r) * from.cols + col) = codes[i];
            }
        }
    }
    if (to.columnCodes == nullptr) {
        return;
    }
    if constexpr (kScaling == Fp8Scaling::kVectors) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            float v[8];
            raw[i].values(v);
            const float(&f)[8] = acrossFactor;
            codes[i].x = encodePair(v[0], v[1], f[0], f[1]) | encodePair(v[2], v[3], f[2], f[3]) << 16;
            codes[i].y = encodePair(v[4], v[5], f[4], f[5]) | encodePair(v[6], v[7], f[6], f[7]) << 16;
        }
    }
    storeTransposed(tile, codes, octet, slot);
    __syncthreads();
    writeColumns(tile, place, columnTile, from, to);
}

template <Fp8Scaling kScaling, class T>
__device__ __forceinline__ void quantizeTile(const T* x, const Fp8Source& from, const Fp8Copies& to) {
    Fp8TilePlace place;
    if constexpr (kScaling == Fp8Scaling::kGroup) {
        writeGroupScales(from, to);
    }
    Fp8TileIndex tile = tileOfPanel();
    if (!locateTile(from.groups, from.starts, tile.row, place)) {
        return;
    }
    int octet = threadIdx.x % 16;
    int slot = threadIdx.x / 16;
    int col = tile.column * kFp8Tile + octet * 8;
    Octet<T> raw[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        int r = slot * 8 + i;
        if (r < place.present && col < from.cols) {
            raw[i].load(x + long(place.source + r) * from.cols + col);
        } else {
            raw[i].clear();
        }
    }
    quantizeOctets<kScaling>(raw, place, tile.column, gridDim.y, from, to);
}

}  // namespace fourfold
