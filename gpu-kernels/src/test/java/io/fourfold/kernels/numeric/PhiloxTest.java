package io.fourfold.kernels.numeric;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class PhiloxTest {

    /** The known-answer vectors published with Random123 ({@code philox4x32 10}). */
    @Test
    void knownAnswers() {
        assertThat(philox(0, 0, 0, 0, 0, 0)).containsExactly(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
        assertThat(philox(-1, -1, -1, -1, -1, -1)).containsExactly(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
        assertThat(philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0))
                .containsExactly(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
    }

    @Test
    void anyPartOfAFillEqualsTheWhole() {
        float[] whole = new float[1000];
        CounterRandom.fillUniform(7, CounterRandom.stream("generate"), 0, whole, 0, 1000);
        float[] part = new float[130];
        CounterRandom.fillUniform(7, CounterRandom.stream("generate"), 333, part, 2, 100);
        assertThat(Arrays.copyOfRange(part, 2, 102)).isEqualTo(Arrays.copyOfRange(whole, 333, 433));
    }

    @Test
    void momentsAreThoseOfTheUniformDistribution() {
        int n = 1 << 18;
        float[] x = new float[n];
        CounterRandom.fillUniform(1, 2, 0, x, 0, n);
        assertThat(moment(x, 1)).isCloseTo(0.5, within(0.005));
        assertThat(moment(x, 2)).isCloseTo(1 / 3.0, within(0.005));
    }

    @Test
    void seedAndStreamMatter() {
        float[] first = new float[8];
        float[] other = new float[8];
        CounterRandom.fillUniform(1, 2, 0, first, 0, 8);
        CounterRandom.fillUniform(1 + (1L << 32), 2, 0, other, 0, 8);
        assertThat(other).isNotEqualTo(first);
        CounterRandom.fillUniform(1, 2 + (1L << 32), 0, other, 0, 8);
        assertThat(other).isNotEqualTo(first);
        assertThat(CounterRandom.stream("a.weight")).isNotEqualTo(CounterRandom.stream("b.weight"));
    }

    private static int[] philox(int c0, int c1, int c2, int c3, int k0, int k1) {
        int[] out = new int[5];
        Philox4x32.generate(c0, c1, c2, c3, k0, k1, out, 1);
        return Arrays.copyOfRange(out, 1, 5);
    }

    private static double moment(float[] values, int power) {
        double sum = 0;
        for (float value : values) {
            sum += Math.pow(value, power);
        }
        return sum / values.length;
    }
}
