package io.fourfold.moe;

import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/**
 * The way of one micro-batch's rows: the permutation of this rank's slots, then the stages.
 *
 * @param permutation by expert, or by rank where tokens travel once
 */
record RowRoute(SlotPermutation permutation, List<RowStage> stages) {
    RowRoute {
        stages = List.copyOf(stages);
    }

    /** Copies of the rows of x [T, C]. The last stage writes into {@code result}, the others into {@code work}. */
    Tensor toExperts(Tensor x, TensorScope work, TensorScope result) {
        return travel(permutation.spread(x, stages.isEmpty() ? result : work), work, result);
    }

    /** The same of rows that are permuted already. */
    Tensor travel(Tensor rows, TensorScope work, TensorScope result) {
        Tensor out = rows;
        for (int i = 0; i < stages.size(); i++) {
            out = stages.get(i).toExperts(out, i == stages.size() - 1 ? result : work);
        }
        return out;
    }

    /** Starts the way back to this rank's permuted order, to be summed or gathered with the {@link #permutation}. */
    Arrival startFromExperts(Tensor y, TensorScope work) {
        Tensor out = y;
        for (int i = stages.size() - 1; i > 0; i--) {
            out = stages.get(i).fromExperts(out, work);
        }
        return stages.isEmpty() ? new Arrival(out, Pending.DONE) : stages.get(0).startFromExperts(out, work);
    }

    /** The same, done. */
    Tensor fromExperts(Tensor y, TensorScope work) {
        Tensor out = y;
        for (int i = stages.size() - 1; i >= 0; i--) {
            out = stages.get(i).fromExperts(out, work);
        }
        return out;
    }
}
