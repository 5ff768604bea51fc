package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Attention, GPU against CPU oracle: documents, odd lengths, groups of heads, poisoned outputs. The GPU rounds probabilities
 * and their gradients to BF16 for the tensor cores, the oracle does not: 1e-2 by norm.
 */
@Tag("gpu")
class CudaAttentionParityTest {
    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(32);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    /** One call's tensors on both backends. */
    private record Call(AttentionShape shape, Twin starts, Twin qkv, Twin dout, Twin out, Twin logSumExp, Twin dqkv) {
        static Call of(DType type, AttentionShape shape, int documentLength) {
            int[] starts = new int[shape.tokens()];
            for (int t = 0; t < starts.length; t++) {
                int position = t % shape.sequence();
                boolean begins = position > 0 && documentLength > 0 && pair.random.nextInt(documentLength) == 0;
                starts[t] = position == 0 ? 0 : begins ? position : starts[t - 1];
            }
            return new Call(
                    shape,
                    pair.ints(starts),
                    pair.gaussian(type, 1, shape.tokens(), shape.qkvWidth()),
                    pair.gaussian(type, 1, shape.tokens(), shape.outputWidth()),
                    pair.poison(type, shape.tokens(), shape.outputWidth()),
                    pair.poison(DType.FP32, shape.batch(), shape.heads(), shape.sequence()),
                    pair.poison(type, shape.tokens(), shape.qkvWidth()));
        }

        void forward(Backend on, Function<Twin, Tensor> of) {
            on.attention().forward(shape, of.apply(qkv), of.apply(starts), of.apply(out), of.apply(logSumExp));
        }

        void backward(Backend on, Function<Twin, Tensor> of) {
            on.attention()
                    .backward(
                            shape,
                            of.apply(dout),
                            of.apply(qkv),
                            of.apply(starts),
                            of.apply(out),
                            of.apply(logSumExp),
                            of.apply(dqkv));
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
        CudaPair.assertClose(what, pair.cpu.download(result.cpu()), pair.cuda.download(result.cuda()), tolerance);
    }

    @ParameterizedTest
    @CsvSource({
        "BF16, 2, 150, 4, 2, 64, 40, 1e-2",
        "BF16, 2, 150, 4, 2, 128, 40, 1e-2",
        "BF16, 2, 150, 4, 2, 96, 40, 1e-2",
        "BF16, 2, 150, 4, 2, 32, 0, 1e-2",
        "BF16, 2, 150, 4, 2, 40, 40, 2e-3",
        "FP32, 2, 150, 4, 2, 64, 40, 3e-6",
        "BF16, 3, 2, 2, 2, 64, 0, 1e-2",
        "BF16, 3, 2, 2, 2, 128, 0, 1e-2",
        "BF16, 2, 701, 8, 1, 64, 0, 1e-2",
        "BF16, 2, 701, 8, 2, 128, 0, 1e-2",
        "BF16, 1, 1024, 4, 4, 64, 3, 1e-2",
        "BF16, 1, 1024, 4, 1, 128, 300, 1e-2"
    })
    void equalsTheOracle(
            DType type,
            int batch,
            int sequence,
            int heads,
            int kvHeads,
            int dim,
            int documentLength,
            double tolerance) {
        Call call = Call.of(type, shape(batch, sequence, heads, kvHeads, dim), documentLength);
        both(call::forward);
        close("logSumExp", call.logSumExp, 3e-6);
        close("out", call.out, tolerance);
        both(call::backward);
        close("dqkv", call.dqkv, tolerance);
    }

    /** Enough tiles that several blocks add to every row of dQ at about the same time. */
    @ParameterizedTest
    @ValueSource(ints = {64, 128})
    void backwardIsEqualToTheBitFromRunToRun(int dim) {
        Call call = Call.of(DType.BF16, shape(4, 1500, 16, 4, dim), 700);
        call.forward(pair.cuda, Twin::cuda);
        call.backward(pair.cuda, Twin::cuda);
        float[] first = pair.cuda.download(call.dqkv.cuda());
        for (int run = 0; run < 5; run++) {
            call.backward(pair.cuda, Twin::cuda);
            assertThat(Arrays.equals(pair.cuda.download(call.dqkv.cuda()), first))
                    .as("run %d gives the same bits as the first", run)
                    .isTrue();
        }
    }
}
