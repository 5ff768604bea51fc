package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;

/** Element-wise operations, embedding, rotation and gating: elementwise.cu, copy_columns.cu, embedding.cu, rope_gate.cu. */
final class CudaElementwiseOps implements ElementwiseOps {
    private static final String FILE = "elementwise";
    private static final int BLOCK = 256;
    private static final int PER_BLOCK = BLOCK * 8;
    private static final int ROWS_PER_BLOCK = 8;

    private final CudaRuntime cuda;
    private final SlotSort sort;
    private final RotaryFrequencies frequencies;

    CudaElementwiseOps(CudaRuntime cuda, RotaryFrequencies frequencies) {
        this.cuda = cuda;
        this.sort = new SlotSort(cuda);
        this.frequencies = frequencies;
    }

    @Override
    public void fill(Tensor out, float value) {
        CudaTensor to = CudaTensor.of(out);
        long n = to.elements();
        if (Float.floatToRawIntBits(value) == 0) {
            cuda.memory().zero(to);
            return;
        }
        if (to.dtype() == DType.BF16) {
            int bits = BFloat16.toBits(value) & 0xffff;
            cuda.function(FILE, "fill_halves").launchLine(blocks(n, PER_BLOCK), BLOCK, to, n, bits);
            return;
        }
        require(
                to.dtype() == DType.FP32 || (to.dtype() == DType.INT32 && (int) value == value),
                "filling " + to + " with " + value);
        int bits = to.dtype() == DType.FP32 ? Float.floatToRawIntBits(value) : (int) value;
        cuda.function(FILE, "fill_words").launchLine(blocks(n, BLOCK * 4), BLOCK, to, n, bits);
    }

    @Override
    public void copy(Tensor in, Tensor out) {
        CudaTensor from = CudaTensor.of(in);
        CudaTensor to = CudaTensor.of(out);
        long n = from.elements();
        require(n == to.elements(), "copying " + from + " to " + to);
        if (from.dtype() == to.dtype()) {
            if (from.address() != to.address()) {
                cuda.memory().copy(from, to);
            }
        } else if (from.dtype() == DType.INT32) {
            require(to.dtype() == DType.FP32, "INT32 copies into FP32 or INT32, not into " + to);
            cuda.function(FILE, "copy_int32_fp32").launchLine(blocks(n, BLOCK), BLOCK, from, to, n);
        } else {
            cuda.function(FILE, kernel("copy", from, to)).launchLine(blocks(n, PER_BLOCK), BLOCK, from, to, n);
        }
    }

    @Override
    public void copyColumns(Tensor in, int from, Tensor out, int to, int count) {
        CudaTensor source = CudaTensor.of(in);
        CudaTensor target = CudaTensor.of(out);
        int rows = source.shape().rows();
        long sourceCols = source.shape().cols();
        long cols = target.shape().cols();
        require(
                source.dtype() == target.dtype() && target.shape().rows() == rows,
                "copying columns of " + in + " into " + out);
        require(
                from >= 0 && count >= 0 && from + count <= sourceCols && to >= 0 && to + count <= cols,
                "columns " + from + " and " + to + ", " + count + " each, leave " + in + " or " + out);
        int element = source.dtype().bytes();
        long first = source.address() + (long) from * element;
        long place = target.address() + (long) to * element;
        long common = first | place | (long) count * element | sourceCols * element | cols * element;
        int word = common % 16 == 0 ? 16 : common % 4 == 0 ? 4 : 2;
        int words = count * element / word;
        long total = (long) rows * words;
        cuda.function("copy_columns", "copy_columns_" + word)
                .launchLine(
                        blocks(total, BLOCK * 4),
                        BLOCK,
                        first,
                        place,
                        total,
                        words,
                        sourceCols * element / word,
                        cols * element / word);
    }

    @Override
    public void add(Tensor a, Tensor b, Tensor out) {
        CudaTensor left = CudaTensor.of(a);
        long n = left.elements();
        CudaTensor right = floats(b, "b", n);
        CudaTensor to = floats(out, "out", n);
        cuda.function(FILE, kernel("add", left, right, to)).launchLine(blocks(n, PER_BLOCK), BLOCK, left, right, to, n);
    }

    @Override
    public void addScaled(Tensor a, float factor, Tensor out) {
        CudaTensor from = CudaTensor.of(a);
        long n = from.elements();
        CudaTensor to = floats(out, "out", n);
        cuda.function(FILE, kernel("add_scaled", from, to))
                .launchLine(blocks(n, PER_BLOCK), BLOCK, from, factor, to, n);
    }

    @Override
    public void addBias(Tensor bias, Tensor out) {
        CudaTensor to = CudaTensor.of(out);
        int rows = to.shape().rows();
        int cols = to.shape().cols();
        CudaTensor from = floats(bias, "bias", cols);
        cuda.function(FILE, kernel("add_bias", from, to))
                .launchLine(blocks((long) rows * blocks(cols, 8), BLOCK), BLOCK, from, to, rows, cols);
    }

    @Override
    public void biasBackward(Tensor dy, Tensor dbias) {
        CudaTensor from = CudaTensor.of(dy);
        PartialSums.ofColumns(cuda, from, floats(dbias, "dbias", from.shape().cols()));
    }

    @Override
    public void embedding(Tensor tokens, Tensor table, Tensor out) {
        CudaTensor from = CudaTensor.of(table);
        int count = Math.toIntExact(tokens.elements());
        int cols = from.shape().cols();
        CudaTensor ids = int32(tokens, "tokens", count);
        CudaTensor to = floats(out, "out", (long) count * cols);
        cuda.function("embedding", kernel("embedding", from, to))
                .launchLine(
                        blocks(count, ROWS_PER_BLOCK),
                        BLOCK,
                        ids,
                        from,
                        to,
                        count,
                        from.shape().rows(),
                        cols);
    }

    @Override
    public void embeddingBackward(Tensor tokens, Tensor dout, Tensor dtable) {
        CudaTensor to = CudaTensor.of(dtable);
        int count = Math.toIntExact(tokens.elements());
        int cols = to.shape().cols();
        int vocabulary = to.shape().rows();
        CudaTensor ids = int32(tokens, "tokens", count);
        CudaTensor from = floats(dout, "dout", (long) count * cols);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor sorted = work.allocate(DType.INT32, Math.max(1, count));
            sort.positions(ids, vocabulary, sorted);
            cuda.function("embedding", kernel("embedding_backward", from, to))
                    .launch(
                            blocks(count, ROWS_PER_BLOCK),
                            blocks(cols, 32 * 8),
                            1,
                            BLOCK,
                            0,
                            ids,
                            sorted,
                            from,
                            to,
                            count,
                            vocabulary,
                            cols);
        }
    }

    @Override
    public void rope(Tensor qkv, int heads, int kvHeads, int headDim, Tensor positions, double theta, boolean inverse) {
        int tokens = Math.toIntExact(positions.elements());
        int width = (heads + 2 * kvHeads) * headDim;
        require(headDim % 2 == 0, "rotary positions need an even headDim, got " + headDim);
        CudaTensor x = floats(qkv, "qkv", (long) tokens * width);
        CudaTensor where = int32(positions, "positions", tokens);
        CudaTensor table = frequencies.of(theta, headDim);
        cuda.function("rope_gate", kernel("rope", x))
                .launch(
                        tokens,
                        1,
                        1,
                        BLOCK,
                        headDim * 4,
                        x,
                        heads + kvHeads,
                        width,
                        headDim,
                        where,
                        table,
                        inverse ? -1f : 1f);
    }

    @Override
    public void addGated(Tensor gate, Tensor y, Tensor out) {
        int rows = Math.toIntExact(gate.elements());
        CudaTensor g = fp32(gate, "gate", rows);
        CudaTensor from = floats(y, "y", out.elements());
        CudaTensor to = CudaTensor.of(out);
        cuda.function("rope_gate", kernel("add_gated", from, to))
                .launchLine(blocks(rows, ROWS_PER_BLOCK), BLOCK, g, from, to, rows, width(from, rows));
    }

    @Override
    public void addGatedBackward(Tensor gate, Tensor y, Tensor dout, Tensor dy, Tensor dgate) {
        int rows = Math.toIntExact(gate.elements());
        CudaTensor g = fp32(gate, "gate", rows);
        CudaTensor value = CudaTensor.of(y);
        CudaTensor upstream = floats(dout, "dout", value.elements());
        CudaTensor to = floats(dy, "dy", value.elements());
        CudaTensor gateGradient = fp32(dgate, "dgate", rows);
        require(value.dtype() == to.dtype(), "y and dy must have the same type: " + value + ", " + to);
        cuda.function("rope_gate", kernel("add_gated_backward", value, upstream))
                .launchLine(
                        blocks(rows, ROWS_PER_BLOCK),
                        BLOCK,
                        g,
                        value,
                        upstream,
                        to,
                        gateGradient,
                        rows,
                        width(value, rows));
    }

    private static int width(CudaTensor y, int rows) {
        require(rows == 0 ? y.elements() == 0 : y.elements() % rows == 0, "gate of " + rows + " rows for " + y);
        return rows == 0 ? 0 : Math.toIntExact(y.elements() / rows);
    }
}
