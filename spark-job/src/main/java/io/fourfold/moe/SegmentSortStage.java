package io.fourfold.moe;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * Reorders arriving rows from (source rank, expert) to (expert, source rank), which keeps global token order.
 *
 * @param sourceOfTarget INT32 [R], see {@link MoeOps#transposeSegments}
 * @param targetOfSource INT32 [R]
 */
record SegmentSortStage(MoeOps ops, Tensor sourceOfTarget, Tensor targetOfSource) implements RowStage {
    @Override
    public Tensor toExperts(Tensor rows, TensorScope scope) {
        return reorder(rows, sourceOfTarget, scope);
    }

    @Override
    public Tensor fromExperts(Tensor rows, TensorScope scope) {
        return reorder(rows, targetOfSource, scope);
    }

    private Tensor reorder(Tensor rows, Tensor index, TensorScope scope) {
        Tensor out = scope.allocate(rows.dtype(), rows.shape());
        ops.gatherRows(rows, index, 1, out);
        return out;
    }
}
