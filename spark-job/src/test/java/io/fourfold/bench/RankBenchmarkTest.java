package io.fourfold.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.RecipeConfig;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RankBenchmarkTest {
    private final StepBenchmark.Job job = new StepBenchmark.Job(BenchShape.T, RecipeConfig.Kind.BF16, 1, 4, 3, false);

    @ParameterizedTest
    @ValueSource(strings = {"", "EP2", "TP2 ETP2", "PP2"})
    void everyRankHoldsAsManyTokensAsTheOne(String mapping) throws InterruptedException {
        RankBenchmark.Result result = new RankBenchmark(index -> new CpuBenchDevice(1))
                .run(2, mapping, List.of("parallel.gradients.overlap=true"), job);
        assertThat(result.ranks()).hasSize(2).allSatisfy(rank -> {
            assertThat(rank.tokens()).isEqualTo(2 * result.one().tokens());
            assertThat(rank.lastLoss()).isLessThan(rank.firstLoss());
            assertThat(rank.fullestRank()).isBetween(1.0, mapping.equals("EP2") ? 2.0 : 1.0);
        });
        assertThat(result.efficiency()).isPositive();
        assertThat(RankBenchmark.line(result)).startsWith("T   bf16");
    }

    @Test
    void aFailedRankIsNamed() {
        assertThatThrownBy(() -> new RankBenchmark(index -> {
                            if (index == 1) {
                                throw new IllegalStateException("no second device");
                            }
                            return new CpuBenchDevice(1);
                        })
                        .run(2, "", List.of(), job))
                .hasMessageContaining("no second device");
    }

    @Test
    void aMappingHasKnownWordsOnly() {
        assertThat(MappingText.settings("TP2 RING"))
                .containsExactly("parallel.tensor_parallel_size=2", "parallel.context_exchange=ring");
        assertThatThrownBy(() -> MappingText.settings("XP2")).hasMessageContaining("'XP2'");
    }
}
