package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.model.RankGroup.StepResult;
import java.util.Map;
import org.assertj.core.data.Offset;

/**
 * How close two steps of the same model on the same batch must be.
 *
 * @param loss relative error of the loss
 * @param gradient of each parameter: norm of the difference over the norm
 * @param weights likewise, after the step
 * @param sameRouting the same number of tokens must reach every expert
 */
record StepComparison(double loss, double gradient, double weights, boolean sameRouting) {
    /** Reduction noise of FP32. */
    static final StepComparison FP32 = new StepComparison(1e-5, 1e-5, 1e-5, true);

    void compare(StepResult expected, StepResult actual) {
        close("loss", expected.loss(), actual.loss(), loss);
        close("auxiliary loss", expected.auxLoss(), actual.auxLoss(), 10 * loss);
        close("z-loss", expected.zLoss(), actual.zLoss(), 10 * loss);
        close("gradient norm", expected.gradientNorm(), actual.gradientNorm(), gradient);
        if (sameRouting) {
            assertThat(actual.dropped()).isEqualTo(expected.dropped());
            assertThat(actual.load()).hasSameSizeAs(expected.load());
            for (int i = 0; i < expected.load().size(); i++) {
                assertThat(actual.load().get(i).layer())
                        .isEqualTo(expected.load().get(i).layer());
                assertThat(actual.load().get(i).tokens())
                        .isEqualTo(expected.load().get(i).tokens());
            }
            assertThat(actual.state().keySet()).isEqualTo(expected.state().keySet());
            expected.state()
                    .forEach((name, values) ->
                            assertThat(actual.state().get(name)).as(name).isEqualTo(values));
        }
        compare("gradient of ", expected.gradients(), actual.gradients(), gradient);
        compare("new value of ", expected.weights(), actual.weights(), weights);
    }

    private static void close(String what, double expected, double actual, double tolerance) {
        assertThat(actual).as(what).isCloseTo(expected, Offset.offset(tolerance * Math.abs(expected)));
    }

    private static void compare(
            String what, Map<String, float[]> expected, Map<String, float[]> actual, double tolerance) {
        assertThat(actual.keySet()).isEqualTo(expected.keySet());
        expected.forEach((name, values) -> assertThat(RelativeError.of(values, TinyModels.entry(actual, name)))
                .as(what + name)
                .isLessThan(tolerance));
    }
}
