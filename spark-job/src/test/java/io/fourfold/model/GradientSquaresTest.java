package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.optim.GradientNorm;
import io.fourfold.optim.ShardedAdamW;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;

class GradientSquaresTest {
    private static final FourfoldConfig CONFIG = TinyModels.config();

    @Test
    void oneMicroBatchKeepsTheSquaresOfItsExpertGradients() {
        Batch batch = TinyModels.batch(CONFIG, 2, 3);
        try (SingleRank rank = new SingleRank(CONFIG)) {
            double unused = rank.run(batch).lossSum();
            assertThat(rank.model.parameters().gradientSquares().complete()).isTrue();
            assertSquares(rank);
            assertNorm(rank);
        }
    }

    @Test
    void moreMicroBatchesAreReadAgain() {
        Batch batch = TinyModels.batch(CONFIG, 2, 3);
        StepContext step = SingleRank.step(batch);
        try (SingleRank rank = new SingleRank(CONFIG)) {
            rank.model.beginStep(step);
            var unused = rank.model.forwardBackward(List.of(batch, batch), step);
            assertThat(rank.model.parameters().gradientSquares().complete()).isFalse();
            assertNorm(rank);
            rank.model.beginStep(step);
            unused = rank.model.forwardBackward(List.of(batch), step);
            unused = rank.model.forwardBackward(List.of(batch), step);
            assertThat(rank.model.parameters().gradientSquares().complete()).isFalse();
            assertNorm(rank);
        }
    }

    private static void assertSquares(SingleRank rank) {
        ParameterStore store = rank.model.parameters();
        Map<String, Double> squares = store.gradientSquares()
                .ofParameters(rank.backend.download(
                        Objects.requireNonNull(store.gradientSquares().all())));
        assertThat(squares).isNotEmpty();
        squares.forEach((name, square) -> {
            double expected = squared(rank.backend.download(store.get(name).grad()));
            assertThat(square).as(name).isCloseTo(expected, within(1e-6 * expected));
        });
    }

    private static void assertNorm(SingleRank rank) {
        double expected = 0;
        for (Parameter parameter : rank.model.parameters().parameters()) {
            expected += squared(rank.backend.download(parameter.grad()));
        }
        try (ShardedAdamW optimizer = new ShardedAdamW(
                rank.backend, rank.model.parameters(), CONFIG.train().optimizer(), rank.groups)) {
            GradientNorm norm = optimizer.gradientNorm();
            assertThat(norm.value()).isCloseTo(Math.sqrt(expected), within(1e-6 * Math.sqrt(expected)));
        }
    }

    private static double squared(float[] values) {
        double sum = 0;
        for (float value : values) {
            sum += (double) value * value;
        }
        return sum;
    }
}
