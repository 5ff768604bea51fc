package io.fourfold.model;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.tensor.Tensor;
import java.util.List;
import java.util.stream.Stream;

/**
 * Products of rows that travel between tensor parallel ranks: while some travel, others are multiplied. The rows of all ranks
 * follow each other in the order of the ranks.
 */
record SplitProduct(GemmOps gemm, Communicator ranks) {
    /**
     * Gathers rows and multiplies them, this rank's own first.
     *
     * @param rows of this rank, [T, K]
     * @param all of all ranks, [TP * T, K], written
     * @param out all * b^T, written
     * @param own runs when this rank's rows of out are written and before the others are waited for
     */
    void gathering(Tensor rows, Tensor all, GemmOperand b, Tensor out, Runnable own) {
        Pending others = ranks.startAllGather(rows, all);
        gemm.multiplyRows(rows, b, ownRows(out));
        own.run();
        others.await();
        multiplyOthers(all, b, out);
    }

    /**
     * Multiplies rows, those that go to other ranks first, and adds what the ranks have of each.
     *
     * @param all [TP * T, K]
     * @param partial all * b^T, written
     * @param sum this rank's rows of the sum, [T, N], written
     * @param left runs when the others' rows of partial have left and before this rank's rows of all are read
     */
    void summing(Tensor all, GemmOperand b, Tensor partial, Tensor sum, Runnable left) {
        multiplyOthers(all, b, partial);
        Pending others = ranks.startReduceScatter(partial, sum, ReduceOp.SUM);
        left.run();
        gemm.multiplyRows(ownRows(all), b, ownRows(partial));
        others.await();
    }

    /** This rank's rows of those of all ranks. */
    Tensor ownRows(Tensor all) {
        return all.rows(begin(all), end(all));
    }

    /** The others, in one or two stretches. */
    List<Tensor> otherRows(Tensor all) {
        return Stream.of(all.rows(0, begin(all)), all.rows(end(all), all.dim(0)))
                .filter(rows -> rows.dim(0) > 0)
                .toList();
    }

    private void multiplyOthers(Tensor all, GemmOperand b, Tensor out) {
        List<Tensor> rows = otherRows(all);
        List<Tensor> products = otherRows(out);
        for (int i = 0; i < rows.size(); i++) {
            gemm.multiplyRows(rows.get(i), b, products.get(i));
        }
    }

    private int begin(Tensor all) {
        return all.dim(0) / ranks.size() * ranks.rank();
    }

    private int end(Tensor all) {
        return all.dim(0) / ranks.size() * (ranks.rank() + 1);
    }
}
