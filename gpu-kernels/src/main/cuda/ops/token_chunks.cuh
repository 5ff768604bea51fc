// Which tokens of every sequence are rows of a tensor: chunks of equal length, in ascending order (the Java record
// kernels.op.TokenChunks). A kernel takes it by value; rows are ordered by sequence, then chunk, then token.
#pragma once

namespace fourfold {

constexpr int kMostChunks = 8;

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

}  // namespace fourfold
