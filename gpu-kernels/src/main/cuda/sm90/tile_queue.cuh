// Tiles handed out while a kernel runs: a cluster of two blocks takes the next number when it is about to run out of work, so
// that clusters with long tiles get fewer. Numbers rise, and which cluster computes a tile does not show in the result.
#pragma once

#include "ptx.cuh"

namespace fourfold {

// The producer thread of the cluster's first block takes numbers and sends them to both blocks; two are under way at most.
// Every block: readers() warps of consumers and its producer read them all.
class TileQueue {
public:
    static constexpr int kSlots = 2;
    static constexpr int kReaders = 17;  // eight consumer warps of either block, the second block's producer

    // shared: 40 bytes in every block at the same offset, 8-byte aligned.
    __device__ explicit TileQueue(uint32_t shared) : shared_(shared) {}

    // One thread of each block, before a cluster barrier.
    __device__ void init() const {
        for (int slot = 0; slot < kSlots; ++slot) {
            barrierInit(full(slot), 1);
            barrierInit(empty(slot), kReaders);
        }
    }

    // Producer thread of the first block. counters: two zeros in global memory; they are zeros again when the kernel ends.
    __device__ int take(int* counters) {
        barrierWait(empty(slot_), parity_ ^ 1);
        int clusters = gridDim.x / 2;
        int number = taken_ ? clusters + atomicAdd(counters, 1) : blockIdx.x / 2;
        taken_ = true;
        barrierExpectBytes(full(slot_), 4);
        storeRemote(value(slot_), full(slot_), 0, number);
        storeRemote(value(slot_), full(slot_), 1, number);
        advance();
        return number;
    }

    // The same thread, once, after a number behind the last tile.
    __device__ void finish(int* counters) const {
        if (atomicAdd(counters + 1, 1) == static_cast<int>(gridDim.x) / 2 - 1) {
            counters[0] = 0;  // every cluster has taken its last number
            counters[1] = 0;
        }
    }

    // Producer thread of the second block.
    __device__ int followAsProducer() {
        barrierExpectBytes(full(slot_), 4);
        int number = read();
        barrierArriveRemote(empty(slot_), 0);
        advance();
        return number;
    }

    // All threads of a consumer warp.
    __device__ int follow() {
        int number = read();
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            barrierArriveRemote(empty(slot_), 0);
        }
        advance();
        return number;
    }

private:
    __device__ uint32_t full(int slot) const { return shared_ + slot * 8; }
    __device__ uint32_t empty(int slot) const { return shared_ + kSlots * 8 + slot * 8; }
    __device__ uint32_t value(int slot) const { return shared_ + kSlots * 16 + slot * 4; }

    __device__ int read() const {
        barrierWaitCluster(full(slot_), parity_);
        return loadShared(value(slot_));
    }

    __device__ void advance() {
        if (++slot_ == kSlots) {
            slot_ = 0;
            parity_ ^= 1;
        }
    }

    uint32_t shared_;
    int slot_ = 0;
    uint32_t parity_ = 0;
    bool taken_ = false;
};

}  // namespace fourfold
