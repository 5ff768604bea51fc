package io.fourfold.kernels.numeric;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ExactSumTest {
    private static List<Double> addends(Random random, int count) {
        List<Double> values = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            values.add(Math.scalb(random.nextDouble(), random.nextInt(240) - 130));
        }
        return values;
    }

    private static ExactSum sum(List<Double> values) {
        ExactSum sum = new ExactSum();
        values.forEach(sum::add);
        return sum;
    }

    @Test
    void anyOrderAndAnyPartsGiveTheSameWords() {
        Random random = new Random(5);
        for (int trial = 0; trial < 50; trial++) {
            List<Double> values = addends(random, 200);
            double[] expected = sum(values).words();
            Collections.shuffle(values, random);
            int cut = random.nextInt(values.size());
            ExactSum first = sum(values.subList(0, cut));
            ExactSum rest = sum(values.subList(cut, values.size()));
            double[] together = first.words();
            double[] others = rest.words();
            for (int i = 0; i < together.length; i++) {
                together[i] += others[i];
            }
            assertThat(ExactSum.of(together).words()).containsExactly(expected);
            ExactSum copied = ExactSum.of(first.halves(), 0);
            copied.add(rest);
            assertThat(copied.words()).containsExactly(expected);
        }
    }

    /** Of numbers of at least 2^-138, nothing is cut. */
    @Test
    void isTheSumWithinAFewUnitsOfTheLastPlace() {
        Random random = new Random(6);
        for (int trial = 0; trial < 50; trial++) {
            List<Double> values = new ArrayList<>();
            BigDecimal expected = BigDecimal.ZERO;
            for (int i = 0; i < 100; i++) {
                double value = Math.scalb(1 + random.nextDouble(), random.nextInt(240) - 138);
                values.add(value);
                expected = expected.add(new BigDecimal(value));
            }
            double rounded = expected.doubleValue();
            assertThat(sum(values).value()).isCloseTo(rounded, within(4 * Math.ulp(rounded)));
        }
    }

    @Test
    void smallerNumbersAreCut() {
        assertThat(sum(List.of(0.0, Double.MIN_VALUE, 0x1p-193)).value()).isZero();
        assertThat(sum(List.of(0x1.8p-192, 0x1.8p-192)).value()).isEqualTo(0x1p-191);
        assertThat(sum(List.of(0x1.fp-192, 1.0)).words()[0]).isEqualTo(1);
    }

    @Test
    void carriesGoThroughAllWords() {
        ExactSum sum = new ExactSum();
        for (int i = 0; i < 100_000; i++) {
            sum.add(0x1.fffffffffffffp0);
        }
        assertThat(sum.value()).isCloseTo(200_000, within(1e-7));
        assertThat(sum(List.of(0x1.fffffffffffffp126)).value()).isEqualTo(0x1.fffffffffffffp126);
    }

    @ParameterizedTest
    @ValueSource(doubles = {0x1p127, Double.MAX_VALUE, Double.POSITIVE_INFINITY})
    void whatDoesNotFitMakesItInfinite(double value) {
        ExactSum sum = sum(List.of(1.0, value));
        assertThat(sum.isFinite()).isFalse();
        assertThat(sum.value()).isInfinite();
        assertThat(ExactSum.of(sum.words()).isFinite()).isFalse();
    }

    @Test
    void whatIsNoNumberMakesItNone() {
        ExactSum sum = sum(List.of(1.0, Double.NaN, Double.POSITIVE_INFINITY, Double.NaN));
        assertThat(sum.isFinite()).isFalse();
        assertThat(sum.value()).isNaN();
        assertThat(ExactSum.of(sum.words()).value()).isNaN();
        assertThat(ExactSum.of(sum.halves(), 0).value()).isNaN();
        ExactSum other = sum(List.of(Double.POSITIVE_INFINITY));
        other.add(other);
        assertThat(other.value()).isInfinite();
        other.add(sum);
        assertThat(other.value()).isNaN();
    }

    @Test
    void aSumThatDoesNotFitIsInfiniteToo() {
        assertThat(sum(List.of(0x1p126, 0x1p126)).isFinite()).isFalse();
        assertThat(sum(List.of(0x1p126)).isFinite()).isTrue();
    }
}
