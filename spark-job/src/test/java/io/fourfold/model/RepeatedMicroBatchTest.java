package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.RepeatedWork;
import io.fourfold.kernels.cpu.CpuBackend;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Predicate;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Micro-batches handed to a backend that repeats work: the same bits, and a host that does not know the difference. */
class RepeatedMicroBatchTest {
    private record Steps(
            List<Double> losses, Map<String, List<Float>> gradients, List<Boolean> squares, double evaluated) {}

    /** The CPU with another {@link Backend#repeat}. */
    private static Backend repeating(CpuBackend cpu, Predicate<RepeatedWork> repeat) {
        return (Backend) Proxy.newProxyInstance(
                Backend.class.getClassLoader(), new Class<?>[] {Backend.class}, (proxy, method, arguments) -> {
                    if (method.getName().equals("repeats")) {
                        return true;
                    }
                    if (method.getName().equals("repeat")) {
                        return repeat.test((RepeatedWork) arguments[0]);
                    }
                    try {
                        return method.invoke(cpu, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }

    private static boolean queue(RepeatedWork work) {
        work.queue(work.numbers());
        return true;
    }

    private static FourfoldConfig config(String... settings) {
        List<String> all = new ArrayList<>(List.of(
                "model.hidden_size=32",
                "model.attention={heads: 4, kv_heads: 2, head_dim: 8}",
                "model.ffn={intermediate_size: 32}",
                "model.moe={experts: 4, top_k: 2, intermediate_size: 32, dense_layers: [1]}",
                "train.sequence_length=32"));
        all.addAll(List.of(settings));
        return TinyModels.config(all.toArray(new String[0]));
    }

    @ParameterizedTest
    @CsvSource({"fp32, false", "fp32, true", "bf16, false", "nvfp4, false", "nvfp4, true", "fp8, true"})
    void changesNoBit(String recipe, boolean tied) {
        FourfoldConfig config = config("recipe.kind=" + recipe, "model.tie_embeddings=" + tied);
        Steps expected = steps(config, CpuBackend.lending(1));
        assertThat(steps(config, repeating(CpuBackend.lending(1), RepeatedMicroBatchTest::queue)))
                .isEqualTo(expected);
    }

    private static Steps steps(FourfoldConfig config, Backend backend) {
        List<Double> losses = new ArrayList<>();
        Map<String, List<Float>> gradients = new TreeMap<>();
        List<Boolean> squares = new ArrayList<>();
        try (SingleRank rank = new SingleRank(config, backend)) {
            for (int number = 1; number <= 3; number++) {
                List<Batch> batches = new ArrayList<>();
                for (int i = 0; i < 1 + number % 2; i++) {
                    batches.add(TinyModels.batch(config, 2, 5 * number + i));
                }
                StepContext step = step(number, batches);
                rank.model.beginStep(step);
                rank.model
                        .forwardBackward(batches, step)
                        .forEach(result -> losses.add(result.lossSum() + result.auxLoss() + result.zLoss()));
                squares.add(rank.model.parameters().gradientSquares().complete());
                for (Parameter parameter : rank.model.parameters().parameters()) {
                    List<Float> values = new ArrayList<>();
                    for (float value : backend.download(parameter.grad())) {
                        values.add(value);
                    }
                    gradients.put(number + " " + parameter.name(), values);
                }
                var unused = rank.model.endStep();
            }
            return new Steps(losses, gradients, squares, rank.model.evaluate(TinyModels.batch(config, 2, 9)));
        }
    }

    private static StepContext step(int number, List<Batch> batches) {
        int samples = batches.stream().mapToInt(Batch::samples).sum();
        return new StepContext(number, 99, 1.0 / (10 + number), samples, null);
    }

    @Test
    void givesNumbersThatAllDiffer() {
        List<int[]> seen = new ArrayList<>();
        FourfoldConfig config = config("recipe.kind=bf16");
        Backend backend = repeating(new CpuBackend(1), work -> {
            seen.add(work.numbers());
            seen.add(work.otherNumbers());
            return queue(work);
        });
        List<Batch> batches = List.of(TinyModels.batch(config, 2, 1));
        try (SingleRank rank = new SingleRank(config, backend)) {
            rank.model.beginStep(step(7, batches));
            rank.model.forwardBackward(batches, step(7, batches));
        }
        int[] own = seen.get(0);
        int[] other = seen.get(1);
        assertThat(own).containsExactly(7, Float.floatToRawIntBits((float) (1.0 / 17)));
        assertThat(other).hasSameSizeAs(own);
        for (int i = 0; i < own.length; i++) {
            assertThat(other[i]).isNotEqualTo(own[i]);
        }
    }

    /** The backend runs nothing here, as one that has a recording does: the model must still know what was written. */
    @Test
    void theHostGoesOnAfterAReplayAsAfterTheWork() {
        for (boolean replays : List.of(false, true)) {
            List<Set<String>> unwritten = new ArrayList<>();
            FourfoldConfig config = config("recipe.kind=bf16");
            Backend backend = repeating(new CpuBackend(1), work -> {
                unwritten.add(((RepeatedMicroBatch) work).unwritten());
                return !replays && queue(work);
            });
            List<Batch> one = List.of(TinyModels.batch(config, 2, 1));
            List<Batch> two = List.of(TinyModels.batch(config, 2, 2), TinyModels.batch(config, 2, 3));
            try (SingleRank rank = new SingleRank(config, backend)) {
                rank.model.beginStep(step(1, one));
                rank.model.forwardBackward(one, step(1, one));
                assertThat(rank.model.parameters().gradientSquares().complete()).isTrue();
                var unused = rank.model.endStep();
                rank.model.beginStep(step(2, two));
                rank.model.forwardBackward(two, step(2, two));
                assertThat(rank.model.parameters().gradientSquares().complete()).isFalse();
            }
            assertThat(unwritten).hasSize(3);
            assertThat(unwritten.get(0)).contains("layers.0.moe.experts.down", "layers.1.ffn.down");
            assertThat(unwritten.get(1)).isEqualTo(unwritten.get(0));
            assertThat(unwritten.get(2)).isEmpty();
        }
    }

    @Test
    void stepsThatAreLookedAtAreNotRepeated() {
        List<RepeatedWork> seen = new ArrayList<>();
        FourfoldConfig config = config("recipe.kind=nvfp4");
        Backend backend = repeating(new CpuBackend(1), work -> {
            seen.add(work);
            return queue(work);
        });
        Batch batch = TinyModels.batch(config, 2, 1);
        try (SingleRank rank = new SingleRank(config, backend)) {
            StepContext sampled = new StepContext(1, 99, 0.1, 2, new QuantizationTelemetry());
            rank.model.beginStep(sampled);
            rank.model.forwardBackward(batch, sampled);
            assertThat(rank.model.locate(batch, step(2, List.of(batch)))).isEmpty();
            assertThat(seen).isEmpty();
        }
        try (SingleRank rank =
                new SingleRank(config("train.cuda_graphs=false"), repeating(new CpuBackend(1), seen::add))) {
            rank.run(batch);
        }
        assertThat(seen).isEmpty();
    }
}
