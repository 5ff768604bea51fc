package io.fourfold.kernels.numeric;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import org.junit.jupiter.api.Test;

class SplitFloatTest {
    private static final int[] LOWER_HALVES = {0x0000, 0x0001, 0x1234, 0x7FFF, 0x8000, 0x8001, 0xABCD, 0xFFFE, 0xFFFF};

    /** Every sign, exponent and upper mantissa, with remainders around the tie and at the ends. */
    @Test
    void everyNumberComesBack() {
        for (int upper = 0; upper < 1 << 16; upper++) {
            for (int lower : LOWER_HALVES) {
                check(upper << 16 | lower);
            }
        }
        Random random = new Random(1);
        for (int i = 0; i < 1_000_000; i++) {
            check(random.nextInt());
        }
    }

    private static void check(int bits) {
        float value = Float.intBitsToFloat(bits);
        float head = SplitFloat.head(value);
        int remainder = SplitFloat.remainder(value);
        if (remainder < Short.MIN_VALUE || remainder > Short.MAX_VALUE) {
            assertThat(remainder).as("remainder of %08x", bits).isBetween(-32768, 32767);
        }
        int back = Float.floatToRawIntBits(SplitFloat.join(head, remainder));
        int expected = Float.isNaN(value) ? 0x7FC0_0000 : bits;
        if (back != expected) {
            assertThat(back).as("bits of %08x", bits).isEqualTo(expected);
        }
    }

    /** Against a choice between the two neighbours by distance, in FP64, that knows nothing of bit tricks. */
    @Test
    void theHeadIsTheNearestBf16AwayFromZeroAtTies() {
        for (int upper = 0; upper < 0x7F80; upper++) {
            for (int lower : LOWER_HALVES) {
                float value = Float.intBitsToFloat(upper << 16 | lower);
                float below = Float.intBitsToFloat(upper << 16);
                double above = upper + 1 == 0x7F80 ? 0x1p128 : Float.intBitsToFloat((upper + 1) << 16);
                boolean up = above - value <= (double) value - below;
                float expected = up ? (float) above : below;
                if (SplitFloat.head(value) != expected || SplitFloat.head(-value) != -expected) {
                    assertThat(SplitFloat.head(value)).as("head of %s", value).isEqualTo(expected);
                    assertThat(SplitFloat.head(-value)).as("head of %s", -value).isEqualTo(-expected);
                }
                if (lower != 0x8000 && expected != BFloat16.round(value)) {
                    assertThat(expected).as("nearest even of %s", value).isEqualTo(BFloat16.round(value));
                }
            }
        }
    }

    @Test
    void theEndsOfTheRange() {
        assertThat(SplitFloat.head(Float.MAX_VALUE)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(SplitFloat.join(Float.POSITIVE_INFINITY, -1)).isEqualTo(Float.MAX_VALUE);
        assertThat(SplitFloat.head(Float.NEGATIVE_INFINITY)).isEqualTo(Float.NEGATIVE_INFINITY);
        assertThat(SplitFloat.remainder(Float.POSITIVE_INFINITY)).isZero();
        assertThat(SplitFloat.head(Float.intBitsToFloat(0x7FFF_FFFF))).isNaN();
        assertThat(SplitFloat.head(Float.intBitsToFloat(0xFFFF_8000))).isNaN();
        assertThat(Float.floatToRawIntBits(SplitFloat.head(-0f))).isEqualTo(0x8000_0000);
        assertThat(SplitFloat.head(Float.MIN_VALUE)).isZero();
        assertThat(SplitFloat.remainder(Float.MIN_VALUE)).isEqualTo(1);
    }

    @Test
    void manyAtOnceAsOneByOne() {
        Random random = new Random(2);
        float[] values = new float[3000];
        for (int i = 0; i < values.length; i++) {
            values[i] = Float.intBitsToFloat(random.nextInt());
        }
        float[] heads = new float[values.length];
        int[] remainders = new int[values.length];
        SplitFloat.split(values, 7, heads, 3, remainders, 11, 2500);
        float[] joined = new float[values.length];
        SplitFloat.join(heads, 3, remainders, 11, joined, 5, 2500);
        for (int i = 0; i < 2500; i++) {
            float value = values[7 + i];
            assertThat(Float.floatToRawIntBits(heads[3 + i]))
                    .isEqualTo(Float.floatToRawIntBits(SplitFloat.head(value)));
            assertThat(remainders[11 + i]).isEqualTo(SplitFloat.remainder(value));
            assertThat(Float.floatToIntBits(joined[5 + i])).isEqualTo(Float.floatToIntBits(value));
        }
    }
}
