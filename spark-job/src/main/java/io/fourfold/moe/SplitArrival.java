package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Rows of which a part is there and the others are on their way.
 *
 * @param rows [R, C]
 * @param others run once, before work on the other rows is queued
 */
public record SplitArrival(Tensor rows, Runnable others) {}
