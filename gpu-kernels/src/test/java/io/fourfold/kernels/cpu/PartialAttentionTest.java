package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Attention merged from parts of the keys, as a ring of context ranks computes it, against the form that sees them all. */
class PartialAttentionTest {
    private static final int BATCH = 2;
    private static final int HEAD_DIM = 8;

    /** Tokens of context rank {@code rank}: its chunk from the front and the one from the back. */
    private static TokenChunks chunks(int sequence, int rank, int ranks) {
        int length = ranks == 1 ? sequence : sequence / (2 * ranks);
        return new TokenChunks(
                length, ranks == 1 ? List.of(0) : List.of(rank * length, (2 * ranks - 1 - rank) * length));
    }

    @ParameterizedTest
    @CsvSource({
        "1, 4, 2, 9",
        "2, 4, 2, 9",
        "3, 4, 1, 24",
        "4, 6, 2, 5",
        "4, 2, 2, 1",
        "2, 4, 4, 24",
        "3, 8, 2, 13",
        "4, 4, 2, 24",
    })
    void partsGiveTheAttentionOfAllKeys(int ranks, int heads, int kvHeads, int document) {
        Case data = new Case(heads, kvHeads, 24 * (ranks == 4 ? 8 : 3), document);
        try (CpuAttention attention = new CpuAttention()) {
            for (int rank = 0; rank < ranks; rank++) {
                compare(attention, data, rank, ranks);
            }
        }
    }

    private static void compare(AttentionOps attention, Case data, int rank, int ranks) {
        AttentionShape shape = data.shape();
        TokenChunks queries = chunks(shape.sequence(), rank, ranks);
        CpuTensor qkv = data.rows(data.qkv(), queries);
        CpuTensor dout = data.rows(data.dout(), queries);
        CpuTensor out = zeros(dout);
        CpuTensor lse = CpuTensor.ofFloats(
                DType.FP32, new float[qkv.dim(0) * shape.heads()], Shape.of(qkv.dim(0) * shape.heads()));
        CpuTensor dqkv = zeros(qkv);
        CpuTensor dkeyValues = zeros(data.keyValues());
        attention.forward(shape, queries, qkv, data.keyValues(), data.starts(), out, lse);
        attention.backward(shape, queries, dout, qkv, data.keyValues(), data.starts(), out, lse, dqkv, dkeyValues);

        CpuTensor merged = zeros(out);
        CpuTensor mergedLse = zeros(lse);
        Arrays.fill(mergedLse.floats(), Float.NEGATIVE_INFINITY);
        for (int step = 0; step < ranks; step++) {
            TokenChunks keys = chunks(shape.sequence(), (rank - step + ranks) % ranks, ranks);
            attention.forwardPart(
                    shape, queries, keys, qkv, data.rows(data.keyValues(), keys), data.starts(), merged, mergedLse);
        }
        assertThat(merged.floats()).containsExactly(out.floats(), Offset.offset(2e-6f));
        assertThat(mergedLse.floats()).containsExactly(lse.floats(), Offset.offset(2e-6f));

        CpuTensor partDqkv = zeros(qkv);
        for (int step = 0; step < ranks; step++) {
            TokenChunks keys = chunks(shape.sequence(), (rank - step + ranks) % ranks, ranks);
            CpuTensor part = data.rows(data.keyValues(), keys);
            CpuTensor gradient = zeros(part);
            Arrays.fill(gradient.floats(), 0.5f);
            attention.backwardPart(
                    shape, queries, keys, dout, qkv, part, data.starts(), merged, mergedLse, partDqkv, gradient);
            float[] expected = data.rows(dkeyValues, keys).floats();
            for (int i = 0; i < expected.length; i++) {
                expected[i] += 0.5f; // What was there stays.
            }
            assertThat(gradient.floats()).containsExactly(expected, Offset.offset(2e-5f));
        }
        assertThat(partDqkv.floats()).containsExactly(dqkv.floats(), Offset.offset(2e-5f));
    }

    @Test
    void keysThatNoQuerySeesChangeNothing() {
        Case data = new Case(4, 2, 32, 16);
        TokenChunks queries = new TokenChunks(8, List.of(16));
        CpuTensor qkv = data.rows(data.qkv(), queries);
        CpuTensor out = zeros(data.rows(data.dout(), queries));
        CpuTensor lse = CpuTensor.ofFloats(DType.FP32, new float[qkv.dim(0) * 4], Shape.of(qkv.dim(0) * 4));
        Arrays.fill(lse.floats(), Float.NEGATIVE_INFINITY);
        try (CpuAttention attention = new CpuAttention()) {
            // Another document's keys, and later ones.
            TokenChunks keys = new TokenChunks(8, List.of(8, 24));
            CpuTensor keyValues = data.rows(data.keyValues(), keys);
            attention.forwardPart(data.shape(), queries, keys, qkv, keyValues, data.starts(), out, lse);
            assertThat(out.floats()).containsOnly(0f);
            assertThat(lse.floats()).containsOnly(Float.NEGATIVE_INFINITY);
            CpuTensor gradient = zeros(keyValues);
            CpuTensor dqkv = zeros(qkv);
            attention.backwardPart(
                    data.shape(), queries, keys, out, qkv, keyValues, data.starts(), out, lse, dqkv, gradient);
            assertThat(gradient.floats()).containsOnly(0f);
            assertThat(dqkv.floats()).containsOnly(0f);
        }
    }

    @Test
    void mergesLogSumExp() {
        float none = Float.NEGATIVE_INFINITY;
        assertThat(LogSumExpMerge.logSumExp(none, none)).isEqualTo(none);
        assertThat(LogSumExpMerge.logSumExp(3f, none)).isEqualTo(3f);
        assertThat(LogSumExpMerge.logSumExp(none, 3f)).isEqualTo(3f);
        assertThat(LogSumExpMerge.logSumExp(300f, 300f)).isEqualTo(300f + (float) Math.log(2));
        assertThat(LogSumExpMerge.logSumExp(-300f, Float.NaN)).isNaN();
        float[] out = {1, 9};
        LogSumExpMerge.merge(out, 0, 200f, new float[] {3}, 200f, LogSumExpMerge.logSumExp(200f, 200f));
        assertThat(out).containsExactly(new float[] {2, 9}, Offset.offset(1e-4f));
        LogSumExpMerge.merge(out, 1, none, new float[] {5}, -80f, -80f);
        assertThat(out[1]).isEqualTo(5f);
        LogSumExpMerge.merge(out, 1, none, new float[] {0}, none, none);
        assertThat(out[1]).isEqualTo(5f);
    }

    /** A backend without kernels for parts says which setting asked for them. */
    @Test
    void otherBackendsNameTheSetting() {
        AttentionOps plain = new AttentionOps() {
            @Override
            public void forward(AttentionShape shape, Tensor qkv, Tensor starts, Tensor out, Tensor logSumExp) {
                throw new AssertionError("not called");
            }

            @Override
            public void backward(
                    AttentionShape shape,
                    Tensor dout,
                    Tensor qkv,
                    Tensor starts,
                    Tensor out,
                    Tensor logSumExp,
                    Tensor dqkv) {
                throw new AssertionError("not called");
            }
        };
        Case data = new Case(2, 2, 8, 8);
        TokenChunks all = TokenChunks.whole(8);
        CpuTensor x = data.qkv();
        assertThatThrownBy(() -> plain.forwardPart(data.shape(), all, all, x, x, x, x, x))
                .isInstanceOf(UnsupportedOperationException.class)
                .hasMessageContaining("parallel.context_exchange");
        assertThatThrownBy(() -> plain.backwardPart(data.shape(), all, all, x, x, x, x, x, x, x, x))
                .isInstanceOf(UnsupportedOperationException.class)
                .hasMessageContaining("parallel.context_exchange");
    }

    private static CpuTensor zeros(CpuTensor like) {
        return CpuTensor.ofFloats(DType.FP32, new float[like.size()], like.shape());
    }

    /** Seeded queries, keys and values of whole sequences; every {@code document} tokens begin a document. */
    private record Case(AttentionShape shape, CpuTensor qkv, CpuTensor keyValues, CpuTensor dout, CpuTensor starts) {
        Case(int heads, int kvHeads, int sequence, int document) {
            this(new AttentionShape(BATCH, sequence, heads, kvHeads, HEAD_DIM, 0.35f), document);
        }

        private Case(AttentionShape shape, int document) {
            this(
                    shape,
                    random(shape.tokens(), shape.qkvWidth(), 4),
                    random(shape.tokens(), shape.outputWidth(), 5),
                    document);
        }

        private Case(AttentionShape shape, CpuTensor qkv, CpuTensor dout, int document) {
            this(shape, qkv, keyValues(shape, qkv), dout, starts(shape, document));
        }

        /** Of tensors with a row for every token, the rows of the chunks. */
        CpuTensor rows(CpuTensor x, TokenChunks chunks) {
            int columns = x.dim(1);
            int[] tokens = IntStream.range(0, shape.tokens())
                    .filter(t -> chunks.starts().stream()
                            .anyMatch(start ->
                                    t % shape.sequence() >= start && t % shape.sequence() < start + chunks.length()))
                    .toArray();
            float[] values = new float[tokens.length * columns];
            for (int r = 0; r < tokens.length; r++) {
                System.arraycopy(x.floats(), tokens[r] * columns, values, r * columns, columns);
            }
            return CpuTensor.ofFloats(DType.FP32, values, Shape.of(tokens.length, columns));
        }

        private static CpuTensor keyValues(AttentionShape shape, CpuTensor qkv) {
            int width = 2 * shape.kvHeads() * shape.headDim();
            CpuTensor part =
                    CpuTensor.ofFloats(DType.FP32, new float[shape.tokens() * width], Shape.of(shape.tokens(), width));
            new CpuElementwiseOps().copyColumns(qkv, shape.heads() * shape.headDim(), part, 0, width);
            return part;
        }

        private static CpuTensor starts(AttentionShape shape, int document) {
            int[] starts = IntStream.range(0, shape.tokens())
                    .map(t -> t % shape.sequence() / document * document)
                    .toArray();
            return CpuTensor.ofInts(starts, Shape.of(starts.length));
        }

        private static CpuTensor random(int rows, int columns, long seed) {
            Random random = new Random(seed);
            float[] values = new float[rows * columns];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextGaussian();
            }
            return CpuTensor.ofFloats(DType.FP32, values, Shape.of(rows, columns));
        }
    }
}
