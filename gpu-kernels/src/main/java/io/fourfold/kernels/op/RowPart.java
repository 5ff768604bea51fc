package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Some neighbouring rows of each group of a ragged buffer.
 *
 * @param begins INT32 [G]: first row of group g's part
 * @param ends INT32 [G]: behind its last one
 */
public record RowPart(Tensor begins, Tensor ends) {}
