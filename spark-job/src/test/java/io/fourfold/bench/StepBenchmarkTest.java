package io.fourfold.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.RecipeConfig;
import org.junit.jupiter.api.Test;

class StepBenchmarkTest {
    @Test
    void measuresStepsThatLearn() {
        try (BenchDevice device = new CpuBenchDevice(1)) {
            StepResult result = StepBenchmark.run(
                    device, new StepBenchmark.Job(BenchShape.T, RecipeConfig.Kind.BF16, 2, 4, 3, true));
            assertThat(result.tokens()).isEqualTo(2 * 2 * 128);
            assertThat(result.firstLoss()).isCloseTo(Math.log(512), within(0.1));
            assertThat(result.lastLoss()).isLessThan(result.firstLoss());
            assertThat(result.milliseconds()).isBetween(result.fastest(), result.slowest());
            assertThat(result.steady()).isTrue();
            assertThat(BenchText.step(result)).startsWith("T   bf16").contains(" -> ");
        }
    }
}
