package io.fourfold.moe;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;

/**
 * Ranks that hold parts of the same experts (ETP) share their rows: all-gather-v on the way to the experts, so that every
 * part sees every row, and reduce-scatter-v back, which adds the parts' results. Gathered rows are ordered by the rank they
 * come from. Sums of BF16 rows are accumulated in FP32 and rounded once.
 */
final class ExpertTensorStage implements RowStage {
    private final Communicator group;
    private final long[] rowsOfRank;
    private final int gathered;

    /**
     * @param rowsOfRank rows that each rank of the group brings
     */
    ExpertTensorStage(Communicator group, long[] rowsOfRank) {
        this.group = group;
        this.rowsOfRank = rowsOfRank.clone();
        this.gathered = Math.toIntExact(Arrays.stream(rowsOfRank).sum());
    }

    int gathered() {
        return gathered;
    }

    @Override
    public Tensor toExperts(Tensor rows, TensorScope scope) {
        Tensor out = scope.allocate(rows.dtype(), gathered, rows.dim(1));
        group.allGatherV(rows, out, elements(rows.dim(1)));
        return out;
    }

    @Override
    public Tensor fromExperts(Tensor rows, TensorScope scope) {
        int own = Math.toIntExact(rowsOfRank[group.rank()]);
        Tensor out = scope.allocate(rows.dtype(), own, rows.dim(1));
        group.reduceScatterV(rows, out, elements(rows.dim(1)), ReduceOp.SUM);
        return out;
    }

    private long[] elements(int cols) {
        return Arrays.stream(rowsOfRank).map(count -> count * cols).toArray();
    }
}
