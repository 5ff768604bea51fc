package io.fourfold.moe;

import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * One stage between the permuted rows of this rank and the rows its experts compute. Both directions are linear and each
 * is the other's transpose, so forward and backward of dispatch and combine all use these two.
 *
 * <p>These are {@link AllToAllStage} (expert parallelism), {@link ExpertTensorStage} (experts split over ranks) and {@link
 * SegmentSortStage}, in this order.
 */
interface RowStage {
    /**
     * @param rows [rows before the stage, C], any type
     * @return [rows after the stage, C], in {@code scope} or the input itself
     */
    Tensor toExperts(Tensor rows, TensorScope scope);

    /** The other way. */
    Tensor fromExperts(Tensor rows, TensorScope scope);

    /** {@link #fromExperts} beside the work that is queued next, where the stage can. */
    default Arrival startFromExperts(Tensor rows, TensorScope scope) {
        return new Arrival(fromExperts(rows, scope), Pending.DONE);
    }
}
