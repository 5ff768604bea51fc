package io.fourfold.optim;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.TrainConfig;
import io.fourfold.config.TrainConfig.ScheduleConfig.Kind;
import java.util.List;
import org.junit.jupiter.api.Test;

class LearningRateScheduleTest {
    private static final double PEAK = 4.5e-4;
    private static final double MIN = 4.5e-6;

    @Test
    void wsdWarmsUpHoldsAndDecaysLinearly() {
        LearningRateSchedule schedule = schedule(Kind.WSD, 100, 10, 0.2);
        assertThat(schedule.at(1)).isEqualTo(PEAK / 10);
        assertThat(schedule.at(9)).isEqualTo(PEAK * 9 / 10);
        assertThat(schedule.at(10)).isEqualTo(PEAK);
        assertThat(schedule.at(11)).isEqualTo(PEAK);
        assertThat(schedule.at(80)).isEqualTo(PEAK);
        assertThat(schedule.at(81)).isEqualTo(PEAK + (MIN - PEAK) / 20);
        assertThat(schedule.at(90)).isCloseTo((PEAK + MIN) / 2, within(1e-18));
        assertThat(schedule.at(100)).isEqualTo(MIN);
        assertThat(schedule.at(1000)).isEqualTo(MIN);
    }

    @Test
    void cosineEndsExactlyAtTheMinimum() {
        LearningRateSchedule schedule = schedule(Kind.COSINE, 50, 10, 0.2);
        assertThat(schedule.at(10)).isEqualTo(PEAK);
        assertThat(schedule.at(30)).isCloseTo((PEAK + MIN) / 2, within(1e-18));
        assertThat(schedule.at(49)).isBetween(MIN, PEAK);
        assertThat(schedule.at(50)).isEqualTo(MIN);
    }

    @Test
    void constantStaysAtThePeak() {
        LearningRateSchedule schedule = schedule(Kind.CONSTANT, 50, 0, 0.2);
        assertThat(schedule.at(1)).isEqualTo(PEAK);
        assertThat(schedule.at(50)).isEqualTo(PEAK);
    }

    @Test
    void edgesOfTheShares() {
        assertThat(schedule(Kind.WSD, 10, 0, 0).at(10)).as("no decay").isEqualTo(PEAK);
        assertThat(schedule(Kind.WSD, 10, 0, 1).at(10)).as("all decay").isEqualTo(MIN);
        assertThat(schedule(Kind.WSD, 10, 10, 0.5).at(10)).as("all warm-up").isEqualTo(PEAK);
        assertThat(schedule(Kind.COSINE, 10, 10, 0.5).at(10)).as("all warm-up").isEqualTo(PEAK);
        assertThat(schedule(Kind.WSD, 1, 0, 0.2).at(1)).as("one step").isEqualTo(PEAK);
        assertThatThrownBy(() -> schedule(Kind.WSD, 10, 0, 0).at(0)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void ratesNeverRiseAfterTheWarmUp() {
        for (Kind kind : Kind.values()) {
            LearningRateSchedule schedule = schedule(kind, 137, 13, 0.3);
            for (int step = 14; step <= 137; step++) {
                assertThat(schedule.at(step)).isLessThanOrEqualTo(schedule.at(step - 1));
            }
        }
    }

    private static LearningRateSchedule schedule(Kind kind, int steps, int warmup, double decay) {
        return LearningRateSchedule.of(new TrainConfig(
                16,
                1,
                1,
                steps,
                1,
                new TrainConfig.OptimizerConfig(PEAK, MIN, 0.9, 0.95, 1e-8, 0.1, 1),
                new TrainConfig.ScheduleConfig(kind, warmup, decay),
                0,
                1,
                List.of(),
                true,
                true));
    }
}
