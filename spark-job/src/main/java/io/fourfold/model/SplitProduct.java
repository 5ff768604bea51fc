package io.fourfold.model;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.tensor.Tensor;

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
     */
    void gathering(Tensor rows, Tensor all, GemmOperand b, Tensor out) {
        Pending others = ranks.startAllGather(rows, all);
        gemm.multiplyRows(rows, b, out.rows(begin(out), end(out)));
        others.await();
        multiplyOthers(all, b, out);
    }

    /**
     * Multiplies rows, those that go to other ranks first, and adds what the ranks have of each.
     *
     * @param all [TP * T, K]
     * @param partial all * b^T, written
     * @param sum this rank's rows of the sum, [T, N], written
     */
    void summing(Tensor all, GemmOperand b, Tensor partial, Tensor sum) {
        multiplyOthers(all, b, partial);
        Pending others = ranks.startReduceScatter(partial, sum, ReduceOp.SUM);
        multiply(all, b, partial, begin(all), end(all));
        others.await();
    }

    private void multiplyOthers(Tensor all, GemmOperand b, Tensor out) {
        multiply(all, b, out, 0, begin(all));
        multiply(all, b, out, end(all), all.dim(0));
    }

    private void multiply(Tensor all, GemmOperand b, Tensor out, int from, int to) {
        if (from < to) {
            gemm.multiplyRows(all.rows(from, to), b, out.rows(from, to));
        }
    }

    private int begin(Tensor all) {
        return all.dim(0) / ranks.size() * ranks.rank();
    }

    private int end(Tensor all) {
        return all.dim(0) / ranks.size() * (ranks.rank() + 1);
    }
}
