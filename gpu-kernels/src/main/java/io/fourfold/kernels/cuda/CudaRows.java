package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** Rows moved and added by index: launches of rows.cu; see {@link MoeOps#gatherRows} and what follows it there. */
final class CudaRows {
    private static final int BLOCK = 256;
    private static final int ROWS_PER_BLOCK = 8;
    private static final int WARP = 32;

    private final CudaRuntime cuda;

    CudaRows(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    void gather(Tensor x, Tensor index, int divisor, Tensor out) {
        CudaTensor from = CudaTensor.of(x);
        CudaTensor to = CudaTensor.of(out);
        require(from.dtype() == to.dtype(), "gathering rows of " + from + " into " + to);
        int rows = Math.toIntExact(index.elements());
        int cols = from.shape().cols();
        require(to.elements() == (long) rows * cols, "gathering " + rows + " rows of " + from + " into " + to);
        long rowBytes = (long) cols * from.dtype().bytes();
        int word = word(rowBytes, from, to);
        int words = (int) (rowBytes / word);
        cuda.function("rows", "gather_rows_" + word)
                .launchLine(
                        blocks((long) rows * lanes(words), BLOCK),
                        BLOCK,
                        from,
                        int32(index, "index", rows),
                        divisor,
                        to,
                        rows,
                        from.shape().rows(),
                        words,
                        lanes(words));
    }

    void spread(Tensor x, Tensor slotOfRow, Tensor rowOfSlot, int k, Tensor out) {
        CudaTensor from = CudaTensor.of(x);
        CudaTensor to = CudaTensor.of(out);
        require(from.dtype() == to.dtype(), "spreading rows of " + from + " into " + to);
        int rows = Math.toIntExact(slotOfRow.elements());
        int cols = from.shape().cols();
        require(to.elements() == (long) rows * cols, "spreading rows of " + from + " over " + rows + " of " + to);
        long rowBytes = (long) cols * from.dtype().bytes();
        int word = word(rowBytes, from, to);
        int words = (int) (rowBytes / word);
        spread(from, null, 1, rowOfSlot, k, to, rows, word);
        cuda.function("rows", "clear_rows_" + word)
                .launchLine(blocks(rows, BLOCK), BLOCK, int32(slotOfRow, "slotOfRow", rows), to, rows, words);
    }

    void spreadSome(Tensor x, @Nullable Tensor index, int divisor, Tensor rowOfSlot, int k, Tensor out) {
        CudaTensor from = CudaTensor.of(x);
        CudaTensor to = CudaTensor.of(out);
        require(
                from.dtype() == to.dtype() && to.shape().cols() == from.shape().cols(),
                "spreading rows of " + from + " into " + to);
        long rowBytes = (long) from.shape().cols() * from.dtype().bytes();
        spread(from, index, divisor, rowOfSlot, k, to, to.shape().rows(), word(rowBytes, from, to));
    }

    private void spread(
            CudaTensor from,
            @Nullable Tensor index,
            int divisor,
            Tensor rowOfSlot,
            int k,
            CudaTensor to,
            int rows,
            int word) {
        int tokens = index == null ? from.shape().rows() : Math.toIntExact(index.elements());
        int words = (int) ((long) from.shape().cols() * from.dtype().bytes() / word);
        cuda.function("rows", "spread_rows_" + word)
                .launchLine(
                        blocks((long) tokens * lanes(words), BLOCK),
                        BLOCK,
                        from,
                        CudaFunction.orNull(index == null ? null : int32(index, "index", tokens)),
                        divisor,
                        from.shape().rows(),
                        int32(rowOfSlot, "rowOfSlot", (long) tokens * k),
                        k,
                        to,
                        tokens,
                        rows,
                        words,
                        lanes(words));
    }

    /** Lanes that move a row: a power of two, no more than a warp. */
    private static int lanes(int words) {
        return words <= 1 ? 1 : Math.min(WARP, Integer.highestOneBit(words - 1) * 2);
    }

    /** Bytes of the widest words in which rows can be moved. */
    private static int word(long rowBytes, CudaTensor from, CudaTensor to) {
        long common = rowBytes | from.address() | to.address();
        return common % 16 == 0 ? 16 : common % 4 == 0 ? 4 : 2;
    }

    void sum(Tensor y, Tensor rowOfSlot, int k, Tensor out) {
        CudaTensor from = CudaTensor.of(y);
        CudaTensor to = CudaTensor.of(out);
        int tokens = to.shape().rows();
        int cols = to.shape().cols();
        require(from.elements() % Math.max(1, cols) == 0, "summing rows of " + from + " into " + to);
        int sources = cols == 0 ? 0 : Math.toIntExact(from.elements() / cols);
        cuda.function("rows", kernel("sum_rows", from, to))
                .launchLine(
                        blocks(tokens, ROWS_PER_BLOCK),
                        BLOCK,
                        from,
                        int32(rowOfSlot, "rowOfSlot", (long) tokens * k),
                        k,
                        to,
                        tokens,
                        sources,
                        cols);
    }

    void sumAndOwn(Tensor y, Tensor rowOfSlot, int from, Tensor own, Tensor rowOfOwnSlot, int k, Tensor out) {
        CudaTensor others = CudaTensor.of(y);
        CudaTensor mine = CudaTensor.of(own);
        CudaTensor to = CudaTensor.of(out);
        int tokens = to.shape().rows();
        int cols = to.shape().cols();
        require(
                others.dtype() == mine.dtype()
                        && others.shape().cols() == cols
                        && mine.shape().cols() == cols,
                "summing rows of " + others + " and " + mine + " into " + to);
        cuda.function("rows", kernel("sum_rows_and_own", others, to))
                .launchLine(
                        blocks(tokens, ROWS_PER_BLOCK),
                        BLOCK,
                        others,
                        int32(rowOfSlot, "rowOfSlot", (long) tokens * k),
                        from,
                        Math.toIntExact(rowOfOwnSlot.elements() / k),
                        mine,
                        int32(rowOfOwnSlot, "rowOfOwnSlot", rowOfOwnSlot.elements()),
                        k,
                        to,
                        tokens,
                        others.shape().rows(),
                        mine.shape().rows(),
                        cols);
    }
}
