package io.fourfold.moe;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * Reorders arriving rows from (source rank, expert) to (expert, source rank), which keeps global token order.
 *
 * @param sourceOfTarget INT32 [R], see {@link MoeOps#transposeSegments}
 * @param targetOfSource INT32 [R]
 */
record SegmentSortStage(MoeOps ops, Tensor sourceOfTarget, Tensor targetOfSource) implements RowStage {
    /**
     * Makes the index maps.
     *
     * @param counts INT32 [sources, experts], rows of each segment
     * @param offsets INT32 [experts + 1], written
     * @param rows of all segments
     */
    static SegmentSortStage of(MoeOps ops, Tensor counts, Tensor offsets, int rows, TensorScope kept) {
        Tensor sourceOfTarget = kept.allocate(DType.INT32, rows);
        Tensor targetOfSource = kept.allocate(DType.INT32, rows);
        ops.transposeSegments(counts, offsets, sourceOfTarget, targetOfSource);
        return new SegmentSortStage(ops, sourceOfTarget, targetOfSource);
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
