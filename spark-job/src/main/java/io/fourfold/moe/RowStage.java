package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * One stage between the permuted rows of this rank and the rows its experts compute. Both directions are linear and each
 * is the other's transpose, so forward and backward of dispatch and combine all use these two.
 *
 * <p>Today: {@link AllToAllStage} (expert parallelism) and {@link SegmentSortStage}. A split of each expert over tensor
 * parallel ranks is a stage between them: all-gather-v to the experts, reduce-scatter-v back.
 */
interface RowStage {
    /**
     * @param rows [rows before the stage, C], any type
     * @return [rows after the stage, C], in {@code scope} or the input itself
     */
    Tensor toExperts(Tensor rows, TensorScope scope);

    /** The other way. */
    Tensor fromExperts(Tensor rows, TensorScope scope);
}
