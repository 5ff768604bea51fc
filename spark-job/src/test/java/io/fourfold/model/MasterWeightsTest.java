package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.TrainConfig.OptimizerConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.numeric.SplitFloat;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.optim.GradientNorm;
import io.fourfold.optim.ShardedAdamW;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

class MasterWeightsTest {
    /** Whole FP32 masters beside the split ones, updated with the same gradients. */
    @Test
    void splitMastersAreTrainedAsFp32ToTheBit() {
        FourfoldConfig config = TinyModels.config("recipe.kind=bf16", "train.optimizer.weight_decay=0");
        OptimizerConfig optimizer = config.train().optimizer();
        Batch batch = TinyModels.batch(config, 2, 3);
        try (SingleRank rank = new SingleRank(config);
                ShardedAdamW sharded = new ShardedAdamW(rank.backend, rank.model.parameters(), optimizer, rank.groups);
                TensorScope scope = rank.backend.scope(Region.OPTIMIZER)) {
            ParameterStore store = rank.model.parameters();
            int n = (int) store.flatWeights(Parameter.Kind.DENSE).elements();
            Tensor whole = scope.allocate(DType.FP32, n);
            rank.backend.upload(masters(rank, Parameter.Kind.DENSE), whole);
            Tensor moment1 = scope.zeros(DType.FP32, n);
            Tensor moment2 = scope.zeros(DType.FP32, n);
            for (int step = 1; step <= 3; step++) {
                double unused = rank.run(batch).lossSum();
                GradientNorm norm = sharded.gradientNorm();
                float scale = (float) Math.min(1, optimizer.clipNorm() / norm.value());
                AdamWStep update = new AdamWStep(
                        step,
                        0.01f,
                        (float) optimizer.beta1(),
                        (float) optimizer.beta2(),
                        (float) optimizer.epsilon(),
                        0f,
                        scale);
                rank.backend.optimizer().adamW(whole, store.flatGrads(Parameter.Kind.DENSE), moment1, moment2, update);
                sharded.step(step, 0.01, norm);
                var load = rank.model.endStep();
                assertThat(masters(rank, Parameter.Kind.DENSE)).isEqualTo(rank.backend.download(whole));
                assertHeads(rank);
            }
        }
    }

    @Test
    void allRecipesStartFromTheSameMasters() {
        try (SingleRank split = new SingleRank(TinyModels.config("recipe.kind=bf16"));
                SingleRank plain = new SingleRank(TinyModels.config("recipe.kind=fp32"))) {
            split.model.initialize(8);
            plain.model.initialize(8);
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                assertThat(masters(split, kind)).as("%s", kind).isEqualTo(masters(plain, kind));
            }
            assertHeads(split);
        }
    }

    private static float[] masters(SingleRank rank, Parameter.Kind kind) {
        ParameterStore store = rank.model.parameters();
        return store.masters(kind).part(0, store.flatWeights(kind).elements()).download(rank.backend);
    }

    /** What products read is the masters rounded, and the norms and routers are whole. */
    private static void assertHeads(SingleRank rank) {
        ParameterStore store = rank.model.parameters();
        for (Parameter.Kind kind : new Parameter.Kind[] {Parameter.Kind.DENSE, Parameter.Kind.EXPERT}) {
            float[] expected = masters(rank, kind);
            for (int i = 0; i < expected.length; i++) {
                expected[i] = SplitFloat.head(expected[i]);
            }
            assertThat(rank.backend.download(store.flatWeights(kind)))
                    .as("%s", kind)
                    .isEqualTo(expected);
        }
        assertThat(store.flatWeights(Parameter.Kind.REPLICATED).dtype()).isEqualTo(DType.FP32);
    }

    /** Stretches before, over, between and after the slices whose remainders are kept. */
    @Test
    void anyStretchCanBeSetAndOnlyOwnMastersRead() {
        Random random = new Random(4);
        try (CpuBackend backend = new CpuBackend(1);
                TensorScope scope = backend.scope(Region.PARAMETERS)) {
            int n = 40;
            for (int trial = 0; trial < 300; trial++) {
                int ranks = new int[] {1, 2, 4, 5, 8, 10, 20}[random.nextInt(7)];
                Sharding sharding = Sharding.of(n, ranks, 1 + random.nextInt(n));
                int rank = random.nextInt(ranks);
                MasterWeights masters = MasterWeights.split(sharding, rank, scope);
                float[] expected = new float[n];
                for (int write = 0; write < 4; write++) {
                    int at = random.nextInt(n);
                    float[] values = new float[random.nextInt(n - at + 1)];
                    for (int i = 0; i < values.length; i++) {
                        values[i] = expected[at + i] = (float) random.nextGaussian();
                    }
                    masters.set(backend, at, values);
                }
                for (Sharding.Slice slice : sharding.slices(rank)) {
                    assertThat(masters.part(slice.from(), slice.elements()).download(backend))
                            .isEqualTo(Arrays.copyOfRange(expected, (int) slice.from(), (int) slice.to()));
                }
                for (int i = 0; i < n; i++) {
                    expected[i] = SplitFloat.head(expected[i]);
                }
                assertThat(backend.download(masters.weights())).isEqualTo(expected);
            }
            MasterWeights masters = MasterWeights.split(Sharding.of(n, 2, 20), 1, scope);
            assertThatThrownBy(() -> masters.part(9, 2))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("this rank keeps the remainders of 10 to 20, 30 to 40");
            assertThatThrownBy(() -> masters.part(19, 12)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void theFirstMicroBatchOverwritesWhatTheGradientsHeld() {
        FourfoldConfig config = TinyModels.config();
        Batch batch = TinyModels.batch(config, 2, 3);
        try (SingleRank rank = new SingleRank(config)) {
            double unused = rank.run(batch).lossSum();
            float[][] clean = gradients(rank);
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                Tensor flat = rank.model.parameters().flatGrads(kind);
                if (flat.elements() > 0) {
                    rank.backend.elementwise().fill(flat, 17f);
                }
            }
            unused = rank.run(batch).lossSum();
            assertThat(Arrays.deepEquals(gradients(rank), clean)).isTrue();
        }
    }

    private static float[][] gradients(SingleRank rank) {
        return rank.model.parameters().parameters().stream()
                .map(parameter -> rank.backend.download(parameter.grad()))
                .toArray(float[][]::new);
    }
}
