package io.fourfold.model;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.parallel.TokenPlacement;

/**
 * Tensor and context parallelism of one rank. The residual stream holds this rank's rows only, [T / (CP * TP), H]; a layer
 * split over TP gathers the rows of its context rank first or sums partial rows at the end. BF16 rows are summed in FP32,
 * in rank order, and rounded once.
 *
 * @param tensor ranks that split layers and rows
 * @param context ranks that split sequences
 * @param holders both: the ranks that together hold a micro-batch
 */
record SequenceParallel(TokenPlacement placement, Communicator tensor, Communicator context, Communicator holders) {
    static SequenceParallel of(ProcessGroups groups) {
        return new SequenceParallel(
                TokenPlacement.of(groups.mapping(), groups.rank()),
                groups.get(Axis.TP),
                groups.get(Axis.CP),
                groups.get(Axis.TP_CP));
    }

    boolean splitsLayers() {
        return tensor.size() > 1;
    }

    boolean splitsSequences() {
        return context.size() > 1;
    }

    /** The rows of the context rank, [TP * T, C], from this rank's [T, C]; without TP the given tensor itself. */
    Tensor gather(Tensor rows, TensorScope scope) {
        if (!splitsLayers()) {
            return rows;
        }
        Tensor all = all(rows, scope);
        gather(rows, all);
        return all;
    }

    /** Memory for what {@link #gather} makes of these rows. */
    Tensor all(Tensor rows, TensorScope scope) {
        return scope.allocate(rows.dtype(), rows.dim(0) * tensor.size(), rows.dim(1));
    }

    /** Writes all [TP * T, C]. */
    void gather(Tensor rows, Tensor all) {
        tensor.allGather(rows, all);
    }

    /** This rank's rows [T, C] of the sum of every tensor rank's [TP * T, C]. */
    void scatterSum(Tensor partial, Tensor rows) {
        tensor.reduceScatter(partial, rows, ReduceOp.SUM);
    }

    /** {@link #scatterSum} beside the work that is queued next. */
    Pending startSum(Tensor partial, Tensor rows) {
        return tensor.startReduceScatter(partial, rows, ReduceOp.SUM);
    }
}
