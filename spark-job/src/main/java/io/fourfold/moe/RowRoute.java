package io.fourfold.moe;

import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/**
 * The way of one micro-batch's rows: the permutation of this rank's slots, then the stages.
 *
 * @param rowOfSlot INT32 [T*k], -1 where dropped
 * @param slotOfRow INT32 [rows of this rank], -1 in padding
 */
record RowRoute(MoeOps ops, Tensor rowOfSlot, Tensor slotOfRow, List<RowStage> stages) {
    RowRoute {
        stages = List.copyOf(stages);
    }

    /**
     * Row r on the way is x[slotOfRow[r] / divisor, :]. The last stage writes into {@code result}, the others into
     * {@code work}.
     */
    Tensor toExperts(Tensor x, int divisor, TensorScope work, TensorScope result) {
        int count = Math.toIntExact(slotOfRow.elements());
        Tensor out = (stages.isEmpty() ? result : work).allocate(x.dtype(), count, x.dim(1));
        if (divisor == 1) {
            ops.gatherRows(x, slotOfRow, 1, out);
        } else {
            ops.spreadRows(x, slotOfRow, rowOfSlot, divisor, out);
        }
        for (int i = 0; i < stages.size(); i++) {
            out = stages.get(i).toExperts(out, i == stages.size() - 1 ? result : work);
        }
        return out;
    }

    /** Rows back in this rank's permuted order, to be summed or gathered with {@link #rowOfSlot}. */
    Tensor fromExperts(Tensor y, TensorScope work) {
        Tensor out = y;
        for (int i = stages.size() - 1; i >= 0; i--) {
            out = stages.get(i).fromExperts(out, work);
        }
        return out;
    }

    /** {@link #fromExperts} whose all-to-all runs beside the work that is queued next. */
    Arrival startFromExperts(Tensor y, TensorScope work) {
        Tensor out = y;
        for (int i = stages.size() - 1; i >= 0; i--) {
            if (i == 0 && stages.get(0) instanceof AllToAllStage exchange) {
                return exchange.startFromExperts(out, work);
            }
            out = stages.get(i).fromExperts(out, work);
        }
        return new Arrival(out, Pending.DONE);
    }
}
