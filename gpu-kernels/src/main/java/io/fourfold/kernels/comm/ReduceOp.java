package io.fourfold.kernels.comm;

/** Reductions; FP32 sums are taken in ascending rank order on the CPU transports, so they are reproducible. */
public enum ReduceOp {
    SUM,
    MAX
}
