package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.op.VocabularyShard;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Operations of which every rank computes a part, against the undivided operation. */
class ShardedOperationsTest {
    private static final int RANKS = 2;
    private static final OperandSpec ROWS = OperandSpec.of(Format.NVFP4, Blocks.B1X16);

    private interface Work<T> {
        T run(CpuBackend backend, Communicator group, TensorScope scope);
    }

    private static <T> List<T> ranks(Work<T> work) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(RANKS);
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (InProcessWorld world : InProcessWorld.create(RANKS)) {
                futures.add(threads.submit(() -> {
                    try (CpuBackend backend = new CpuBackend(1);
                            TensorScope scope = backend.scope(Region.WORKSPACE)) {
                        return work.run(backend, world.group("part", List.of(0, 1)), scope);
                    }
                }));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> future : futures) {
                results.add(future.get());
            }
            return results;
        } finally {
            threads.shutdownNow();
        }
    }

    private static CpuTensor random(DType dtype, int rows, int cols, long seed) {
        Random random = new Random(seed);
        float[] values = new float[rows * cols];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (random.nextGaussian() * Math.exp(random.nextGaussian()));
        }
        if (dtype == DType.BF16) {
            Bf16Rounding.round(values, 0, values.length);
        }
        return CpuTensor.ofFloats(dtype, values, Shape.of(rows, cols));
    }

    private static CpuTensor columns(CpuTensor x, int from, int count) {
        CpuTensor part = CpuTensor.ofFloats(x.dtype(), new float[x.dim(0) * count], Shape.of(x.dim(0), count));
        new CpuElementwiseOps().copyColumns(x, from, part, 0, count);
        return part;
    }

    static Stream<OperandSpec> specs() {
        return Stream.of(
                ROWS,
                ROWS.withRounding(Rounding.STOCHASTIC),
                ROWS.withRounding(Rounding.STOCHASTIC).withHadamard(true),
                OperandSpec.of(Format.NVFP4, Blocks.B16X16),
                OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR));
    }

    /** Columns split over ranks, as the inputs of row-parallel and the gradients of column-parallel layers. */
    @ParameterizedTest
    @MethodSource("specs")
    void columnShardsHaveTheBitsOfTheWhole(OperandSpec spec) throws Exception {
        for (boolean byColumns : new boolean[] {false, true}) {
            CpuTensor x = random(DType.BF16, 48, 64, 1);
            float[] whole = new float[48 * 64];
            try (CpuBackend backend = new CpuBackend(1);
                    TensorScope scope = backend.scope(Region.WORKSPACE)) {
                GemmOperand operand =
                        backend.quantize().operand(x, byColumns, spec, new RandomStream(3, 4, 5, null), null, scope);
                backend.quantize().dequantize(operand, CpuTensor.ofFloats(DType.FP32, whole, Shape.of(whole.length)));
            }
            List<float[]> parts = ranks((backend, group, scope) -> {
                int first = group.rank() * 32;
                CpuTensor groups = CpuTensor.ofInts(new int[] {first / 16, first / 16 + 1}, Shape.of(2));
                RandomStream random = new RandomStream(3, 4, 5, null, groups);
                AmaxExchange exchange = amax -> group.allReduce(amax, ReduceOp.MAX);
                GemmOperand operand = backend.quantize()
                        .operand(columns(x, first, 32), byColumns, spec, random, null, exchange, scope);
                float[] values = new float[48 * 32];
                backend.quantize().dequantize(operand, CpuTensor.ofFloats(DType.FP32, values, Shape.of(values.length)));
                return values;
            });
            CpuTensor all = CpuTensor.ofFloats(DType.FP32, whole, byColumns ? Shape.of(64, 48) : Shape.of(48, 64));
            for (int rank = 0; rank < RANKS; rank++) {
                float[] expected = byColumns
                        ? Arrays.copyOfRange(whole, rank * 32 * 48, (rank + 1) * 32 * 48)
                        : columns(all, rank * 32, 32).floats();
                assertThat(parts.get(rank))
                        .as("rank %d, by columns %s", rank, byColumns)
                        .isEqualTo(expected);
            }
        }
    }

    @Test
    void vocabularyShardsGiveTheLossOfTheWhole() throws Exception {
        int tokens = 7;
        int width = 8;
        int vocabulary = 24;
        CpuTensor hidden = random(DType.FP32, tokens, width, 2);
        CpuTensor weight = random(DType.FP32, vocabulary, width, 3);
        CpuTensor labels = CpuTensor.ofInts(new int[] {0, 23, -1, 11, 12, 5, 20}, Shape.of(tokens));
        float[] loss = new float[tokens];
        float[] dhidden = new float[tokens * width];
        float[] dweight = new float[vocabulary * width];
        try (CpuBackend backend = new CpuBackend(1)) {
            backend.loss().linearCrossEntropy(hidden, weight, labels, 0.3f, fp32(loss), fp32(dhidden), fp32(dweight));
        }
        List<float[][]> parts = ranks((backend, group, scope) -> {
            int rows = vocabulary / RANKS;
            int first = group.rank() * rows;
            float[][] out = {new float[tokens], new float[tokens * width], new float[rows * width]};
            backend.loss()
                    .linearCrossEntropy(
                            hidden,
                            weight.rows(first, first + rows),
                            new VocabularyShard(first, vocabulary, group),
                            labels,
                            0.3f,
                            fp32(out[0]),
                            fp32(out[1]),
                            CpuTensor.ofFloats(DType.FP32, out[2], Shape.of(rows, width)));
            return out;
        });
        Offset<Float> close = Offset.offset(2e-6f);
        for (float[][] part : parts) {
            assertThat(part[0]).containsExactly(loss, close);
        }
        float[] sum = new float[dhidden.length];
        IntStream.range(0, sum.length).forEach(i -> sum[i] = parts.get(0)[1][i] + parts.get(1)[1][i]);
        assertThat(sum).containsExactly(dhidden, close);
        float[] both = Arrays.copyOf(parts.get(0)[2], dweight.length);
        System.arraycopy(parts.get(1)[2], 0, both, dweight.length / 2, dweight.length / 2);
        assertThat(both).containsExactly(dweight, close);
    }

    private static CpuTensor fp32(float[] values) {
        return CpuTensor.ofFloats(DType.FP32, values, Shape.of(values.length));
    }

    /** Two ranks with chunks 0, 3 and 1, 2 of each sequence. */
    @Test
    void chunksOfQueriesGiveTheAttentionOfTheWhole() {
        AttentionShape shape = new AttentionShape(2, 24, 4, 2, 8, 0.35f);
        int width = shape.qkvWidth();
        int keyWidth = 2 * shape.kvHeads() * shape.headDim();
        int chunk = shape.sequence() / 4;
        CpuTensor qkv = random(DType.FP32, shape.tokens(), width, 4);
        CpuTensor dout = random(DType.FP32, shape.tokens(), shape.outputWidth(), 5);
        int[] starts = new int[shape.tokens()];
        for (int t = 0; t < starts.length; t++) {
            starts[t] = t % shape.sequence() >= 9 ? 9 : 0;
        }
        CpuTensor documentStart = CpuTensor.ofInts(starts, Shape.of(starts.length));
        float[] out = new float[dout.size()];
        float[] dqkv = new float[qkv.size()];
        float[] chunked = new float[dout.size()];
        float[] dchunked = new float[qkv.size()];
        try (CpuBackend backend = new CpuBackend(1)) {
            float[] lse = new float[shape.tokens() * shape.heads()];
            backend.attention().forward(shape, qkv, documentStart, fp32(out), fp32(lse));
            backend.attention().backward(shape, dout, qkv, documentStart, fp32(out), fp32(lse), fp32(dqkv));
            CpuTensor keyValues = columns(qkv, shape.heads() * shape.headDim(), keyWidth);
            for (int rank = 0; rank < 2; rank++) {
                TokenChunks queries = new TokenChunks(chunk, List.of(rank * chunk, (3 - rank) * chunk));
                int[] rows = IntStream.range(0, shape.tokens())
                        .filter(t -> queries.starts().contains(t % shape.sequence() / chunk * chunk))
                        .toArray();
                float[] lseOfChunks = new float[rows.length * shape.heads()];
                float[] outOfChunks = new float[rows.length * shape.outputWidth()];
                float[] dqkvOfChunks = new float[rows.length * width];
                float[] dkeyValues = new float[keyValues.size()];
                CpuTensor local = rows(qkv, rows);
                backend.attention()
                        .forward(shape, queries, local, keyValues, documentStart, fp32(outOfChunks), fp32(lseOfChunks));
                backend.attention()
                        .backward(
                                shape,
                                queries,
                                rows(dout, rows),
                                local,
                                keyValues,
                                documentStart,
                                fp32(outOfChunks),
                                fp32(lseOfChunks),
                                fp32(dqkvOfChunks),
                                fp32(dkeyValues));
                for (int r = 0; r < rows.length; r++) {
                    System.arraycopy(
                            outOfChunks,
                            r * shape.outputWidth(),
                            chunked,
                            rows[r] * shape.outputWidth(),
                            shape.outputWidth());
                    System.arraycopy(dqkvOfChunks, r * width, dchunked, rows[r] * width, width - keyWidth);
                }
                for (int i = 0; i < dkeyValues.length; i++) {
                    dchunked[i / keyWidth * width + width - keyWidth + i % keyWidth] += dkeyValues[i];
                }
            }
        }
        assertThat(chunked).containsExactly(out, Offset.offset(1e-5f));
        assertThat(dchunked).containsExactly(dqkv, Offset.offset(1e-4f));
    }

    private static CpuTensor rows(CpuTensor x, int[] rows) {
        int cols = x.dim(1);
        float[] values = new float[rows.length * cols];
        for (int r = 0; r < rows.length; r++) {
            System.arraycopy(x.floats(), rows[r] * cols, values, r * cols, cols);
        }
        return CpuTensor.ofFloats(x.dtype(), values, Shape.of(rows.length, cols));
    }
}
