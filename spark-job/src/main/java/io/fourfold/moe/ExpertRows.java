package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Token rows as the experts of this rank see them, sorted by local expert.
 *
 * @param offsets INT32 [G+1]: rows of local expert g are {@code offsets[g] .. offsets[g+1]}
 * @param count rows in the buffers, at least offsets[G]; what lies beyond is undefined
 * @param probability FP32 [count], routing weight of each row
 * @param rowIds INT32 [count], global row number of the token, for random streams
 */
public record ExpertRows(Tensor offsets, int count, Tensor probability, Tensor rowIds) {}
