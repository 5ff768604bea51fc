package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Where the largest magnitudes of a matrix's groups come from.
 *
 * @param known FP32 [groups]; null: a pass over the matrix finds them
 * @param exchange makes those of a part those of the whole; null = the matrix is whole
 */
record AmaxSource(@Nullable CudaTensor known, @Nullable AmaxExchange exchange) {
    static AmaxSource of(@Nullable Tensor known, int groups, @Nullable AmaxExchange exchange) {
        return new AmaxSource(known == null ? null : CudaArguments.fp32(known, "amax", groups), exchange);
    }
}
