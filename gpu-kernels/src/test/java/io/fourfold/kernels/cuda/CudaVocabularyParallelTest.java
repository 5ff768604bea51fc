package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.VocabularyShard;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Cross-entropy of a vocabulary that is split over ranks, on the GPU against the CPU oracle with the same split. Sums differ
 * in order only: 3e-6 relative by norm in FP32; a BF16 result may round the other way: 2e-3, and a BF16 gradient of a logit
 * moves the weight's by 1e-4.
 */
@Tag("gpu")
class CudaVocabularyParallelTest {
    private static final int WIDTH = 64;

    private final Random random = new Random(5);

    @BeforeEach
    void requireGpu() {
        String reason = CudaDevice.unavailableBecause();
        if (reason != null) {
            Assumptions.abort("no vocabulary-parallel loss on a GPU: " + reason);
        }
    }

    /** One call: what all ranks share. */
    private record Problem(int ranks, DType hiddenType, float[] hidden, float[] weight, int[] labels) {
        int tokens() {
            return labels.length;
        }

        int vocabulary() {
            return weight.length / WIDTH;
        }

        int part() {
            return vocabulary() / ranks;
        }

        float[] shard(int rank) {
            return Arrays.copyOfRange(weight, rank * part() * WIDTH, (rank + 1) * part() * WIDTH);
        }
    }

    private Problem problem(int ranks, DType hiddenType, int tokens, int vocabulary) {
        float[] hidden = gaussian(tokens * WIDTH, 1);
        if (hiddenType == DType.BF16) {
            for (int i = 0; i < hidden.length; i++) {
                hidden[i] = BFloat16.round(hidden[i]);
            }
        }
        int[] labels = random.ints(tokens, -1, vocabulary).toArray();
        labels[0] = 0;
        labels[1] = vocabulary - 1;
        labels[2] = -1;
        return new Problem(ranks, hiddenType, hidden, gaussian(vocabulary * WIDTH, 0.3), labels);
    }

    private float[] gaussian(int count, double scale) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (random.nextGaussian() * scale);
        }
        return values;
    }

    /** Loss, gradient of the hidden states (this rank's part of the sum), gradient of the rank's weight. */
    private record Result(float[] loss, float[] dhidden, float[] dweight) {}

    private interface Loss {
        void run(
                Tensor hidden,
                Tensor weight,
                VocabularyShard shard,
                Tensor labels,
                Tensor loss,
                @Nullable Tensor dhidden,
                @Nullable Tensor dweight);
    }

    private static Result compute(
            Problem problem, Backend backend, TensorScope scope, Communicator group, Loss function, boolean gradients) {
        Tensor hidden = scope.allocate(problem.hiddenType, Shape.of(problem.tokens(), WIDTH));
        backend.upload(problem.hidden, hidden);
        Tensor weight = scope.allocate(DType.FP32, Shape.of(problem.part(), WIDTH));
        backend.upload(problem.shard(group.rank()), weight);
        Tensor labels = scope.allocate(DType.INT32, problem.tokens());
        backend.upload(problem.labels, labels);
        Tensor loss = scope.allocate(DType.FP32, problem.tokens());
        Tensor dhidden = scope.allocate(problem.hiddenType, Shape.of(problem.tokens(), WIDTH));
        Tensor dweight = scope.allocate(DType.FP32, Shape.of(problem.part(), WIDTH));
        for (Tensor out : new Tensor[] {loss, dhidden}) {
            backend.elementwise().fill(out, Float.NaN);
        }
        backend.elementwise().fill(dweight, 0.01f);
        VocabularyShard shard = new VocabularyShard(group.rank() * problem.part(), problem.vocabulary(), group);
        function.run(hidden, weight, shard, labels, loss, gradients ? dhidden : null, gradients ? dweight : null);
        return new Result(backend.download(loss), backend.download(dhidden), backend.download(dweight));
    }

    private static List<Result> onCpu(Problem problem) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(problem.ranks);
        List<Integer> all = IntStream.range(0, problem.ranks).boxed().toList();
        try {
            List<Future<Result>> futures = new ArrayList<>();
            for (InProcessWorld world : InProcessWorld.create(problem.ranks)) {
                futures.add(threads.submit(() -> {
                    try (CpuBackend backend = new CpuBackend(1);
                            TensorScope scope = backend.scope(Region.WORKSPACE)) {
                        Loss loss = (h, w, s, y, l, dh, dw) ->
                                backend.loss().linearCrossEntropy(h, w, s, y, 0.01f, l, dh, dw);
                        return compute(problem, backend, scope, world.group("tp", all), loss, true);
                    }
                }));
            }
            List<Result> results = new ArrayList<>();
            for (Future<Result> future : futures) {
                results.add(future.get());
            }
            return results;
        } finally {
            threads.shutdownNow();
        }
    }

    private static List<Result> onGpu(Problem problem, boolean gradients) throws Exception {
        try (CudaRanks ranks = CudaRanks.open(problem.ranks)) {
            return ranks.run(rank -> {
                CudaBackend backend = rank.backend();
                Loss loss = (h, w, s, y, l, dh, dw) -> backend.loss().linearCrossEntropy(h, w, s, y, 0.01f, l, dh, dw);
                return compute(problem, backend, rank.scope(), rank.group(), loss, gradients);
            });
        }
    }

    @ParameterizedTest
    @CsvSource({"FP32, 2, 304", "BF16, 2, 304", "BF16, 4, 308", "FP32, 1, 77", "BF16, 2, 60022", "FP32, 2, 40008"})
    void agreesWithTheOracle(DType hiddenType, int ranks, int vocabulary) throws Exception {
        Problem problem = problem(ranks, hiddenType, vocabulary > 1000 ? 9 : 150, vocabulary);
        assertClose(problem, onCpu(problem), onGpu(problem, true));
    }

    /** Chunks of 128 tokens, the last one short. */
    @Test
    void chunksOfTokensGiveTheSame() throws Exception {
        Problem problem = problem(2, DType.BF16, 300, 96);
        try (CudaRanks ranks = CudaRanks.open(problem.ranks)) {
            List<Result> actual = ranks.run(rank -> {
                CudaBackend backend = rank.backend();
                VocabularyParallelLoss chunked = new VocabularyParallelLoss(
                        backend.runtime(), backend.gemm(), backend.quantize(), backend.elementwise(), 1);
                Loss loss = (h, w, s, y, l, dh, dw) -> chunked.linearCrossEntropy(h, w, s, y, 0.01f, l, dh, dw);
                return compute(problem, backend, rank.scope(), rank.group(), loss, true);
            });
            assertClose(problem, onCpu(problem), actual);
        }
    }

    @Test
    void withoutGradientsTheLossIsTheSame() throws Exception {
        Problem problem = problem(2, DType.BF16, 40, 96);
        List<Result> full = onGpu(problem, true);
        List<Result> forward = onGpu(problem, false);
        for (int rank = 0; rank < problem.ranks; rank++) {
            assertThat(forward.get(rank).loss).isEqualTo(full.get(rank).loss);
            assertThat(forward.get(rank).dweight).containsOnly(0.01f);
        }
    }

    private static void assertClose(Problem problem, List<Result> expected, List<Result> actual) {
        for (int rank = 0; rank < problem.ranks; rank++) {
            String what = problem.hiddenType + " vocabulary " + problem.vocabulary() + " rank " + rank;
            assertThat(actual.get(rank).loss).as(what).isEqualTo(actual.get(0).loss);
            CudaPair.assertClose(what + " loss", expected.get(rank).loss, actual.get(rank).loss, 3e-6);
            CudaPair.assertClose(
                    what + " dhidden",
                    expected.get(rank).dhidden,
                    actual.get(rank).dhidden,
                    problem.hiddenType == DType.BF16 ? 2e-3 : 3e-6);
            CudaPair.assertClose(what + " dweight", expected.get(rank).dweight, actual.get(rank).dweight, 1e-4);
        }
    }
}
