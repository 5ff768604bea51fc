package io.fourfold.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.RecipeConfig;
import io.fourfold.plan.MemoryEstimate;
import io.fourfold.plan.Plan;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The planned bytes of a GPU against what {@code fourfold bench} measured on one H100 80GB. */
class GpuPlanTest {
    private static final double GIBIBYTE = 1 << 30;

    @ParameterizedTest
    @CsvSource({
        "S, BF16, 3.54, 3.54, 7.08, 16.77, 3.21",
        "M, BF16, 11.79, 11.79, 23.58, 7.51, 3.41",
        "Q, BF16, 11.60, 11.60, 23.21, 7.15, 3.15",
        "M, NVFP4, 11.79, 11.79, 23.58, 7.77, 13.07"
    })
    void matchesTheArenaWithinThreePercent(
            BenchShape shape,
            RecipeConfig.Kind recipe,
            double parameters,
            double gradients,
            double optimizer,
            double activations,
            double workspace) {
        MemoryEstimate plan = Plan.of(shape.config(recipe, 1, true)).memory();
        assertThat(plan.weights() / GIBIBYTE).as("parameters").isCloseTo(parameters, within(0.03 * parameters));
        assertThat(plan.gradients() / GIBIBYTE).as("gradients").isCloseTo(gradients, within(0.03 * gradients));
        assertThat(plan.optimizer() / GIBIBYTE).as("optimizer").isCloseTo(optimizer, within(0.03 * optimizer));
        assertThat(plan.activations() / GIBIBYTE).as("activations").isCloseTo(activations, within(0.03 * activations));
        assertThat(plan.workspace() / GIBIBYTE).as("workspace").isCloseTo(workspace, within(0.03 * workspace));
    }
}
