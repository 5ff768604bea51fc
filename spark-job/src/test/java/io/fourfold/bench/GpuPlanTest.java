package io.fourfold.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.RecipeConfig;
import io.fourfold.plan.MemoryEstimate;
import io.fourfold.plan.Plan;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The planned bytes of a GPU against what {@code fourfold bench} measured on one H200. FP8 without lending was measured before
 * rows were quantized once a token, which spares M 2.3 GiB by the plan: M is not listed until it is measured again.
 */
class GpuPlanTest {
    private static final double GIBIBYTE = 1 << 30;

    @ParameterizedTest
    @CsvSource({
        "S, BF16, false, 3.54, 3.54, 0, 7.08, 16.77, 1.86",
        "M, BF16, false, 11.79, 11.79, 0, 23.58, 7.51, 3.16",
        "Q, BF16, false, 11.60, 11.60, 0, 23.21, 7.15, 2.65",
        "S, FP8, false, 3.54, 3.54, 0, 7.08, 13.86, 3.53",
        "Q, FP8, false, 11.60, 11.60, 0, 23.21, 6.08, 7.90",
        "S, BF16, true, 3.54, 3.54, 3.35, 7.08, 13.48, 1.80",
        "M, BF16, true, 11.79, 11.79, 8.43, 23.58, 0.69, 2.16",
        "Q, BF16, true, 11.60, 11.60, 9.21, 23.21, 0.50, 0.97",
        "S, NVFP4, true, 3.54, 3.54, 3.34, 7.08, 8.87, 3.37",
        "M, NVFP4, true, 11.79, 11.79, 8.09, 23.58, 0.32, 11.56",
        "Q, NVFP4, true, 11.60, 11.60, 7.58, 23.21, 0.13, 7.08",
        "S, FP8, true, 3.54, 3.54, 3.33, 7.08, 10.72, 3.37",
        "M, FP8, true, 11.79, 11.79, 7.52, 23.58, 0.50, 7.83",
        "Q, FP8, true, 11.60, 11.60, 8.63, 23.21, 0.00, 6.21"
    })
    void matchesTheArenaWithinThreePercent(
            BenchShape shape,
            RecipeConfig.Kind recipe,
            boolean lend,
            double parameters,
            double gradients,
            double lent,
            double optimizer,
            double activations,
            double workspace) {
        MemoryEstimate plan = Plan.of(shape.config(recipe, 1, true, List.of("train.lend_gradients=" + lend)))
                .memory();
        assertThat(plan.weights() / GIBIBYTE).as("parameters").isCloseTo(parameters, within(0.03 * parameters));
        assertThat(plan.gradients() / GIBIBYTE).as("gradients").isCloseTo(gradients, within(0.03 * gradients));
        assertThat(plan.optimizer() / GIBIBYTE).as("optimizer").isCloseTo(optimizer, within(0.03 * optimizer));
        double total = parameters + gradients + optimizer + activations + workspace;
        assertThat(plan.total() / GIBIBYTE).as("total").isCloseTo(total, within(0.03 * total));
        // A tensor more or less in lent memory moves these three, so they are held to a share of the whole.
        assertThat(plan.lent() / GIBIBYTE).as("lent").isCloseTo(lent, within(0.03 * total));
        assertThat(plan.activations() / GIBIBYTE).as("activations").isCloseTo(activations, within(0.03 * total));
        assertThat(plan.workspace() / GIBIBYTE).as("workspace").isCloseTo(workspace, within(0.03 * total));
    }
}
