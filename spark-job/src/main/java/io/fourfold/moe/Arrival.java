package io.fourfold.moe;

import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.tensor.Tensor;

/** Rows that may still be on their way; what they come from and their own memory stay until they were awaited. */
public record Arrival(Tensor rows, Pending pending) {
    /** The rows, for work queued from now on. */
    Tensor await() {
        pending.await();
        return rows;
    }
}
