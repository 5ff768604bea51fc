package io.fourfold.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CurveTest {
    private static Curve line(int points) {
        double[] x = IntStream.range(0, points).mapToDouble(i -> i).toArray();
        return new Curve(x, x.clone());
    }

    @Test
    void smoothingKeepsAStraightLineAndAConstant() {
        Curve smooth = line(100).smoothed(10);
        for (int i = 0; i < 90; i++) {
            assertThat(smooth.y()[i]).isEqualTo(i, within(1e-9));
        }
    }

    @Test
    void smoothingDoesNotLagBehindASteepStart() {
        double[] x = IntStream.rangeClosed(1, 400).mapToDouble(i -> i).toArray();
        Curve power = new Curve(
                x,
                IntStream.rangeClosed(1, 400)
                        .mapToDouble(i -> 8 * Math.pow(i, -0.3))
                        .toArray());

        Curve smooth = power.smoothed();

        for (int i = 0; i < 400; i++) {
            assertThat(smooth.y()[i] / power.y()[i]).isEqualTo(1, within(0.02));
        }
    }

    @Test
    void theEnvelopeKeepsASpike() {
        double[] y = new double[10_000];
        y[7777] = 5;
        Curve envelope = new Curve(line(10_000).x(), y).envelope(200);
        assertThat(envelope.size()).isEqualTo(200);
        assertThat(envelope.largest()).isEqualTo(5);
        assertThat(envelope.x()).isSorted();
    }

    @Test
    void thinningKeepsBothEnds() {
        Curve thin = line(1001).thinned(11);
        assertThat(thin.x()).containsExactly(0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000);
    }

    @Test
    void interpolatesAndCuts() {
        assertThat(line(10).at(2.25)).isEqualTo(2.25);
        assertThat(line(10).at(-1)).isNaN();
        assertThat(line(10).at(10)).isNaN();
        assertThat(line(10).until(4.5).size()).isEqualTo(5);
        assertThat(line(100).finalMean()).isEqualTo(97);
        assertThat(line(0).finalMean()).isNaN();
    }

    @ParameterizedTest
    @CsvSource({"0,1,5", "0,0.0007,4", "1.9,5.3,8", "0,123456,6"})
    void ticksAreRoundAndInside(double low, double high, int count) {
        Scale scale = Scale.linear(low, high, 0, 100);
        List<Double> ticks = scale.ticks(count);
        assertThat(ticks).hasSizeBetween(count / 2, 2 * count + 1).allSatisfy(tick -> {
            assertThat(tick).isBetween(low - 1e-12, high + 1e-9);
            double multiple = tick / scale.tickStep(count);
            assertThat(multiple).isEqualTo(Math.rint(multiple), within(1e-6));
        });
    }

    @Test
    void logarithmicScalesHavePowersAndFlatOnesAreWidened() {
        Scale scale = Scale.logarithmic(0.05, 900, 100, 0);
        assertThat(scale.ticks(5)).containsExactly(0.1, 1.0, 10.0, 100.0);
        assertThat(scale.pixel(0.05)).isEqualTo(100, within(1e-9));
        assertThat(scale.pixel(900)).isEqualTo(0, within(1e-9));
        assertThat(Scale.linear(3, 3, 0, 100).pixel(3)).isEqualTo(50, within(1e-9));
        assertThat(Scale.logarithmic(3, 3, 0, 100).pixel(3)).isEqualTo(50, within(1e-9));
    }

    @Test
    void stretchesCoverEverythingOnce() {
        List<Stretch> stretches = Stretch.of(103, 10);
        assertThat(stretches).hasSize(10);
        assertThat(stretches.get(0).from()).isZero();
        assertThat(stretches.get(9).to()).isEqualTo(103);
        for (int i = 1; i < 10; i++) {
            assertThat(stretches.get(i).from()).isEqualTo(stretches.get(i - 1).to());
        }
        assertThat(Stretch.of(0, 10)).isEmpty();
    }
}
