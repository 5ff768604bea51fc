package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Attention of context parallel ranks, GPU against CPU oracle: chunks of queries against all keys, and against the keys of one
 * rank after the other with their results merged. Tolerances as in {@link CudaAttentionParityTest}.
 */
@Tag("gpu")
class CudaAttentionChunksParityTest {
    private static final float UNSEEN = -1000;

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(57);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    /** Tokens of a context rank: its chunk from the front and the one from the back. */
    private static TokenChunks ofRank(int length, int rank, int ranks) {
        return new TokenChunks(length, List.of(rank * length, (2 * ranks - 1 - rank) * length));
    }

    /** What does not depend on the direction of the pass: every tensor on both backends. */
    private record Call(AttentionShape shape, DType type, TokenChunks queries, Twin starts, Twin qkv, Twin dout) {
        static Call of(DType type, AttentionShape shape, TokenChunks queries, int documentLength) {
            int[] starts = new int[shape.tokens()];
            for (int t = 0; t < starts.length; t++) {
                int position = t % shape.sequence();
                boolean begins = position > 0 && documentLength > 0 && pair.random.nextInt(documentLength) == 0;
                starts[t] = position == 0 ? 0 : begins ? position : starts[t - 1];
            }
            int rows = shape.batch() * queries.tokens();
            return new Call(
                    shape,
                    type,
                    queries,
                    pair.ints(starts),
                    pair.gaussian(type, 1, rows, shape.qkvWidth()),
                    pair.gaussian(type, 1, rows, shape.outputWidth()));
        }

        int rows() {
            return shape.batch() * queries.tokens();
        }

        int keyWidth() {
            return 2 * shape.kvHeads() * shape.headDim();
        }

        Twin keyValues(TokenChunks keys) {
            return pair.gaussian(type, 1, shape.batch() * keys.tokens(), keyWidth());
        }

        Twin logSumExp(float value) {
            float[] values = new float[rows() * shape.heads()];
            Arrays.fill(values, value);
            return pair.floats(DType.FP32, values, shape.batch(), shape.heads(), queries.tokens());
        }
    }

    private static AttentionShape shape(int batch, int sequence, int heads, int kvHeads, int dim) {
        return new AttentionShape(batch, sequence, heads, kvHeads, dim, (float) (1 / Math.sqrt(dim)));
    }

    private static void both(BiConsumer<Backend, Function<Twin, Tensor>> call) {
        call.accept(pair.cpu, Twin::cpu);
        call.accept(pair.cuda, Twin::cuda);
    }

    private static void close(String what, Twin result, double tolerance) {
        CudaPair.assertClose(
                what, seen(pair.cpu.download(result.cpu())), seen(pair.cuda.download(result.cuda())), tolerance);
    }

    /** Negative infinity, the log-sum-exp of no keys, as a number: a row that only one backend has it in shows. */
    private static float[] seen(float[] values) {
        for (int i = 0; i < values.length; i++) {
            values[i] = values[i] == Float.NEGATIVE_INFINITY ? UNSEEN : values[i];
        }
        return values;
    }

    @ParameterizedTest
    @CsvSource({
        "BF16, 2, 64, 4, 2, 64, 2, 0, 1e-2",
        "BF16, 2, 64, 4, 2, 128, 2, 0, 1e-2",
        "BF16, 2, 37, 4, 2, 64, 2, 40, 1e-2",
        "BF16, 2, 37, 4, 2, 128, 2, 40, 1e-2",
        "BF16, 2, 150, 8, 2, 64, 4, 40, 1e-2",
        "BF16, 2, 150, 8, 2, 128, 4, 40, 1e-2",
        "BF16, 1, 200, 4, 4, 64, 4, 700, 1e-2",
        "BF16, 1, 200, 8, 1, 128, 4, 0, 1e-2",
        "BF16, 1, 1, 2, 1, 64, 2, 0, 1e-2",
        "BF16, 1, 1, 2, 1, 128, 2, 0, 1e-2",
        "BF16, 2, 37, 4, 2, 96, 2, 40, 1e-2",
        "BF16, 1, 150, 4, 2, 32, 4, 90, 1e-2",
        "BF16, 2, 25, 4, 2, 40, 4, 20, 2e-3",
        "FP32, 2, 37, 4, 2, 64, 2, 40, 3e-6",
        "FP32, 1, 19, 4, 1, 136, 4, 30, 3e-6",
    })
    void aRankEqualsTheOracle(
            DType type,
            int batch,
            int length,
            int heads,
            int kvHeads,
            int dim,
            int ranks,
            int documentLength,
            double tolerance) {
        AttentionShape shape = shape(batch, 2 * ranks * length, heads, kvHeads, dim);
        for (int rank = 0; rank < ranks; rank++) {
            gathered(Call.of(type, shape, ofRank(length, rank, ranks), documentLength), tolerance);
            merged(Call.of(type, shape, ofRank(length, rank, ranks), documentLength), rank, ranks, tolerance);
        }
    }

    private static void gathered(Call call, double tolerance) {
        AttentionShape shape = call.shape;
        Twin keyValues = call.keyValues(TokenChunks.whole(shape.sequence()));
        Twin out = pair.poison(call.type, call.rows(), shape.outputWidth());
        Twin logSumExp = call.logSumExp(Float.NaN);
        Twin dqkv = pair.poison(call.type, call.rows(), shape.qkvWidth());
        Twin dkeyValues = pair.poison(call.type, shape.tokens(), call.keyWidth());
        both((on, of) -> on.attention()
                .forward(
                        shape,
                        call.queries,
                        of.apply(call.qkv),
                        of.apply(keyValues),
                        of.apply(call.starts),
                        of.apply(out),
                        of.apply(logSumExp)));
        close("gathered logSumExp", logSumExp, 3e-6);
        close("gathered out", out, tolerance);
        both((on, of) -> on.attention()
                .backward(
                        shape,
                        call.queries,
                        of.apply(call.dout),
                        of.apply(call.qkv),
                        of.apply(keyValues),
                        of.apply(call.starts),
                        of.apply(out),
                        of.apply(logSumExp),
                        of.apply(dqkv),
                        of.apply(dkeyValues)));
        close("gathered dqkv", dqkv, tolerance);
        close("gathered dkeyValues", dkeyValues, tolerance);
    }

    private static void merged(Call call, int rank, int ranks, double tolerance) {
        AttentionShape shape = call.shape;
        List<TokenChunks> keys = IntStream.range(0, ranks)
                .mapToObj(step -> ofRank(call.queries.length(), (rank - step + ranks) % ranks, ranks))
                .toList();
        List<Twin> keyValues = keys.stream().map(call::keyValues).toList();
        Twin out =
                pair.floats(DType.FP32, new float[call.rows() * shape.outputWidth()], call.rows(), shape.outputWidth());
        Twin logSumExp = call.logSumExp(Float.NEGATIVE_INFINITY);
        for (int step = 0; step < ranks; step++) {
            TokenChunks part = keys.get(step);
            Twin values = keyValues.get(step);
            both((on, of) -> on.attention()
                    .forwardPart(
                            shape,
                            call.queries,
                            part,
                            of.apply(call.qkv),
                            of.apply(values),
                            of.apply(call.starts),
                            of.apply(out),
                            of.apply(logSumExp)));
            close("merged logSumExp", logSumExp, 3e-6);
            close("merged out", out, tolerance);
        }
        Twin rounded = pair.floats(call.type, pair.cpu.download(out.cpu()), call.rows(), shape.outputWidth());
        Twin sums = pair.floats(
                DType.FP32, pair.cpu.download(logSumExp.cpu()), shape.batch(), shape.heads(), call.queries.tokens());
        Twin dqkv = pair.gaussian(DType.FP32, 0.1, call.rows(), shape.qkvWidth());
        for (int step = 0; step < ranks; step++) {
            TokenChunks part = keys.get(step);
            Twin values = keyValues.get(step);
            Twin gradient = pair.gaussian(DType.FP32, 0.1, shape.batch() * part.tokens(), call.keyWidth());
            both((on, of) -> on.attention()
                    .backwardPart(
                            shape,
                            call.queries,
                            part,
                            of.apply(call.dout),
                            of.apply(call.qkv),
                            of.apply(values),
                            of.apply(call.starts),
                            of.apply(rounded),
                            of.apply(sums),
                            of.apply(dqkv),
                            of.apply(gradient)));
            close("added dqkv", dqkv, tolerance);
            close("added dkeyValues", gradient, tolerance);
        }
    }

    /** Keys of other documents and later ones: neither results nor gradients change, to the bit. */
    @ParameterizedTest
    @ValueSource(ints = {64, 80, 128})
    void keysThatNoQuerySeesChangeNothing(int dim) {
        AttentionShape shape = shape(1, 800, 4, 2, dim);
        int[] starts = IntStream.range(0, 800).map(t -> t / 200 * 200).toArray();
        TokenChunks queries = new TokenChunks(200, List.of(400));
        TokenChunks keys = new TokenChunks(200, List.of(0, 200, 600));
        Twin documents = pair.ints(starts);
        Call call = Call.of(DType.BF16, shape, queries, 0);
        Twin keyValues = call.keyValues(keys);
        Twin out = pair.gaussian(DType.FP32, 1, 200, shape.outputWidth());
        Twin logSumExp = pair.gaussian(DType.FP32, 1, 1, 4, 200);
        Twin rounded = pair.gaussian(DType.BF16, 1, 200, shape.outputWidth());
        Twin dqkv = pair.gaussian(DType.FP32, 1, 200, shape.qkvWidth());
        Twin gradient = pair.gaussian(DType.FP32, 1, 600, call.keyWidth());
        AttentionOpsOf on = new AttentionOpsOf(call, queries, keys);
        on.forwardPart(keyValues, documents, out, logSumExp);
        on.backwardPart(keyValues, documents, rounded, logSumExp, dqkv, gradient);
        for (Twin untouched : List.of(out, logSumExp, dqkv, gradient)) {
            pair.assertSameBits("untouched", untouched.cpu(), untouched.cuda());
        }
    }

    /** Enough tiles that several blocks add to every row of dQ at about the same time. */
    @ParameterizedTest
    @ValueSource(ints = {64, 80, 128})
    void everyRunGivesTheSameBits(int dim) {
        int length = dim == 80 ? 40 : 700;
        AttentionShape shape = shape(2, 4 * length, 16, 4, dim);
        TokenChunks queries = ofRank(length, 1, 2);
        TokenChunks keys = ofRank(length, 0, 2);
        Call call = Call.of(DType.BF16, shape, queries, 3 * length);
        Twin keyValues = call.keyValues(keys);
        Twin all = call.keyValues(TokenChunks.whole(shape.sequence()));
        float[] first = null;
        for (int run = 0; run < 5; run++) {
            AttentionOpsOf on = new AttentionOpsOf(call, queries, keys);
            Twin out = pair.floats(
                    DType.FP32, new float[call.rows() * shape.outputWidth()], call.rows(), shape.outputWidth());
            Twin logSumExp = call.logSumExp(0);
            on.forwardPart(keyValues, call.starts, out, logSumExp);
            Twin dqkv =
                    pair.floats(DType.FP32, new float[call.rows() * shape.qkvWidth()], call.rows(), shape.qkvWidth());
            Twin gradient = pair.floats(
                    DType.FP32,
                    new float[shape.batch() * keys.tokens() * call.keyWidth()],
                    shape.batch() * keys.tokens(),
                    call.keyWidth());
            on.backwardPart(keyValues, call.starts, call.dout, logSumExp, dqkv, gradient);
            float[] results = concatenated(out, logSumExp, dqkv, gradient, on.gathered(all));
            if (first == null) {
                first = results;
            }
            assertThat(Arrays.equals(results, first))
                    .as("run %d gives the same bits as the first", run)
                    .isTrue();
        }
    }

    private static float[] concatenated(Twin... results) {
        return Arrays.stream(results)
                .map(result -> pair.cuda.download(result.cuda()))
                .reduce(new float[0], (all, one) -> {
                    float[] longer = Arrays.copyOf(all, all.length + one.length);
                    System.arraycopy(one, 0, longer, all.length, one.length);
                    return longer;
                });
    }

    /** Calls on the GPU alone. */
    private record AttentionOpsOf(Call call, TokenChunks queries, TokenChunks keys) {
        void forwardPart(Twin keyValues, Twin starts, Twin out, Twin logSumExp) {
            pair.cuda
                    .attention()
                    .forwardPart(
                            call.shape,
                            queries,
                            keys,
                            call.qkv.cuda(),
                            keyValues.cuda(),
                            starts.cuda(),
                            out.cuda(),
                            logSumExp.cuda());
        }

        void backwardPart(Twin keyValues, Twin starts, Twin out, Twin logSumExp, Twin dqkv, Twin dkeyValues) {
            pair.cuda
                    .attention()
                    .backwardPart(
                            call.shape,
                            queries,
                            keys,
                            call.dout.cuda(),
                            call.qkv.cuda(),
                            keyValues.cuda(),
                            starts.cuda(),
                            out.cuda(),
                            logSumExp.cuda(),
                            dqkv.cuda(),
                            dkeyValues.cuda());
        }

        /** Forward and backward against the keys of whole sequences: the gradient of the queries and of those keys. */
        Twin gathered(Twin all) {
            AttentionShape shape = call.shape;
            Twin out = pair.poison(DType.BF16, call.rows(), shape.outputWidth());
            Twin logSumExp = call.logSumExp(Float.NaN);
            int rows = call.rows();
            Twin gradients = pair.floats(
                    DType.BF16,
                    new float[rows * shape.qkvWidth() + shape.tokens() * call.keyWidth()],
                    rows * shape.qkvWidth() + shape.tokens() * call.keyWidth());
            Twin dqkv = gradients.view(0, rows, shape.qkvWidth());
            Twin dkeyValues = gradients.view((long) rows * shape.qkvWidth(), shape.tokens(), call.keyWidth());
            pair.cuda
                    .attention()
                    .forward(
                            shape,
                            queries,
                            call.qkv.cuda(),
                            all.cuda(),
                            call.starts.cuda(),
                            out.cuda(),
                            logSumExp.cuda());
            pair.cuda
                    .attention()
                    .backward(
                            shape,
                            queries,
                            call.dout.cuda(),
                            call.qkv.cuda(),
                            all.cuda(),
                            call.starts.cuda(),
                            out.cuda(),
                            logSumExp.cuda(),
                            dqkv.cuda(),
                            dkeyValues.cuda());
            return gradients;
        }
    }
}
