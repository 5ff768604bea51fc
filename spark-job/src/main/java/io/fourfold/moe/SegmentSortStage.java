package io.fourfold.moe;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/** Reorders arriving rows from (source rank, expert) to (expert, source rank), which keeps global token order. */
final class SegmentSortStage implements RowStage {
    private final MoeOps ops;
    private final Tensor sourceOfTarget;
    private final Tensor targetOfSource;

    /**
     * @param sourceOfTarget INT32 [R], see {@link MoeOps#transposeSegments}
     * @param targetOfSource INT32 [R]
     */
    SegmentSortStage(MoeOps ops, Tensor sourceOfTarget, Tensor targetOfSource) {
        this.ops = ops;
        this.sourceOfTarget = sourceOfTarget;
        this.targetOfSource = targetOfSource;
    }

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
