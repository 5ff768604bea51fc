package io.fourfold.data.order;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class BlendTest {
    @Test
    void countsStayWithinOneOfTheWeightsAtEverySample() {
        Random random = new Random(11);
        for (int trial = 0; trial < 200; trial++) {
            int sources = 1 + random.nextInt(12);
            List<Double> weights = new ArrayList<>();
            for (int i = 0; i < sources; i++) {
                weights.add((double) (random.nextInt(4) == 0 ? random.nextInt(200) : random.nextInt(9)));
            }
            weights.set(0, 1.0 + weights.get(0));
            assertFair(Blend.of(weights), weights);
        }
    }

    @Test
    void fairWhereTheLargestDeficitRuleIsNot() {
        List<Double> weights = List.of(0.45, 0.45, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01);
        assertFair(Blend.of(weights), weights);
    }

    private static void assertFair(Blend blend, List<Double> weights) {
        double sum = weights.stream().mapToDouble(Double::doubleValue).sum();
        long[] counts = new long[weights.size()];
        int samples = 2 * blend.period() + 3;
        for (int k = 0; k < samples; k++) {
            int source = blend.source(k);
            assertThat(blend.rank(k)).isEqualTo(counts[source]);
            counts[source]++;
            for (int i = 0; i < counts.length; i++) {
                double due = (k + 1) * weights.get(i) / sum;
                assertThat(counts[i] - due).isBetween(-1 + 1e-9, 1 - 1e-9);
            }
        }
    }

    @Test
    void decimalWeightsAreExact() {
        Blend blend = Blend.of(List.of(0.3, 0.7));
        assertThat(blend.period()).isEqualTo(10);
        assertThat(blend.weight(0)).isEqualTo(0.3);
        assertThat(Blend.of(List.of(2.0, 0.0)).period()).isEqualTo(1);
        assertThat(Blend.of(List.of(1e-3, 0.999)).period()).isEqualTo(1000);
    }

    @Test
    void seekingFarEqualsCounting() {
        Blend blend = Blend.bySize(new long[] {123_457, 89, 1_000_000_007});
        assertThat(blend.period()).isEqualTo(Blend.MAX_PERIOD);
        assertThat(blend.weight(1)).isEqualTo(1.0 / Blend.MAX_PERIOD);
        assertThat(blend.weight(0)).isCloseTo(123_457 / 1_000_123_553.0, within(1.0 / Blend.MAX_PERIOD));
        long before = blend.rank(firstOf(blend, 0, 0));
        assertThat(before).isZero();
        long far = 7_000_000_000_123L;
        long at = firstOf(blend, 0, far);
        assertThat(blend.rank(firstOf(blend, 0, at + 1))).isEqualTo(blend.rank(at) + 1);
        assertThat((double) blend.rank(at)).isCloseTo(at * blend.weight(0), within(1.0));
    }

    private static long firstOf(Blend blend, int source, long from) {
        long index = from;
        while (blend.source(index) != source) {
            index++;
        }
        return index;
    }

    @Test
    void refusesWeightsThatMeanNothing() {
        assertThatThrownBy(() -> Blend.of(List.of(0.0, 0.0))).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> Blend.of(List.of(-1.0, 2.0))).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> Blend.of(List.of(Double.NaN))).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> Blend.of(List.of())).isInstanceOf(IllegalArgumentException.class);
    }
}
