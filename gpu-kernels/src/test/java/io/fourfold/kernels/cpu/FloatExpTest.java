package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

final class FloatExpTest {
    /** Every 257th float of both signs, from the least subnormal to infinity. */
    @Test
    void isWithinHalfAUnitInTheLastPlace() {
        double worst = 0;
        for (long bits = 0; bits < 0x7f800000L; bits += 257) {
            worst = Math.max(worst, error(Float.intBitsToFloat((int) bits)));
            worst = Math.max(worst, error(-Float.intBitsToFloat((int) bits)));
        }
        for (float x = -104.5f; x < 89.5f; x += 0.0009765625f) {
            worst = Math.max(worst, error(x));
        }
        assertThat(worst).isLessThan(0.52);
    }

    private static double error(float x) {
        double exact = Math.exp(x);
        float actual = FloatExp.exp(x);
        if ((float) exact == actual) {
            return 0;
        }
        return Math.abs(actual - exact) / Math.ulp((float) exact);
    }

    @Test
    void specialValues() {
        assertThat(FloatExp.exp(Float.NEGATIVE_INFINITY)).isZero();
        assertThat(FloatExp.exp(Float.POSITIVE_INFINITY)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(FloatExp.exp(Float.NaN)).isNaN();
        assertThat(FloatExp.exp(-0f)).isEqualTo(1f);
        assertThat(FloatExp.exp(88.72284f)).isEqualTo((float) Math.exp(88.72284f));
        assertThat(FloatExp.exp(-103.97f)).isEqualTo(Float.MIN_VALUE);
        assertThat(FloatExp.sigmoid(-200f)).isZero();
        assertThat(FloatExp.sigmoid(200f)).isEqualTo(1f);
    }
}
