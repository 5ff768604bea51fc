package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/** Tokens that travelled once are copied for their experts on this rank; back, their experts' rows are added. */
record SlotStage(SlotPermutation permutation) implements RowStage {
    @Override
    public Tensor toExperts(Tensor rows, TensorScope scope) {
        return permutation.spread(rows, scope);
    }

    @Override
    public Tensor fromExperts(Tensor rows, TensorScope scope) {
        Tensor out = scope.allocate(rows.dtype(), permutation.tokens(), rows.dim(1));
        permutation.sum(rows, out);
        return out;
    }
}
