package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.optim.ShardedAdamW;
import java.util.Arrays;
import java.util.Objects;
import org.junit.jupiter.api.Test;

class RoundedWeightsTest {
    @Test
    void theOptimizerKeepsTheCopiesEqualToTheRoundedMasters() {
        FourfoldConfig config = TinyModels.config("recipe.kind=bf16");
        Batch batch = TinyModels.batch(config, 2, 3);
        try (SingleRank rank = new SingleRank(config);
                ShardedAdamW optimizer = new ShardedAdamW(
                        rank.backend, rank.model.parameters(), config.train().optimizer(), rank.groups)) {
            for (int step = 1; step <= 2; step++) {
                double unused = rank.run(batch).lossSum();
                optimizer.step(step, 0.01, optimizer.gradientNorm());
                var load = rank.model.endStep();
                assertCopies(rank);
            }
            rank.model.initialize(8);
            double unused = rank.run(batch).lossSum();
            assertCopies(rank);
        }
    }

    private static void assertCopies(SingleRank rank) {
        ParameterStore store = rank.model.parameters();
        for (Parameter.Kind kind : new Parameter.Kind[] {Parameter.Kind.DENSE, Parameter.Kind.EXPERT}) {
            float[] masters = rank.backend.download(store.flatWeights(kind));
            float[] expected = new float[masters.length];
            BFloat16.round(masters, 0, expected, 0, masters.length);
            Tensor copy = Objects.requireNonNull(store.rounded().flat(kind));
            assertThat(rank.backend.download(copy)).as("%s", kind).isEqualTo(expected);
        }
        assertThat(store.rounded().flat(Parameter.Kind.REPLICATED)).isNull();
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
