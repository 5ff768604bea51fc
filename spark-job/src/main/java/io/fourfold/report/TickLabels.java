package io.fourfold.report;

import io.fourfold.metrics.HumanNumbers;
import java.util.Locale;
import java.util.function.DoubleFunction;

/** Tick labels that show as many digits as the ticks differ in, and no more. */
final class TickLabels {
    private TickLabels() {}

    /** Labels for the ticks of {@code scale}: plain decimals, prefixes above 10000, exponents below 0.001. */
    static DoubleFunction<String> of(Scale scale, int count) {
        double largest = Math.max(Math.abs(scale.low()), Math.abs(scale.high()));
        if (largest >= 10_000) {
            return HumanNumbers::compact;
        }
        if (largest < 0.002) {
            return TickLabels::exponent;
        }
        if (scale.logarithmic()) {
            return value -> HumanNumbers.significant(value, 2);
        }
        int decimals = Math.max(0, (int) -Math.floor(Math.log10(scale.tickStep(count)) + 1e-9));
        return value -> String.format(Locale.ROOT, "%." + decimals + "f", value == 0 ? 0.0 : value);
    }

    /** 2.5e-4: no padding zeros. */
    static String exponent(double value) {
        if (value == 0) {
            return "0";
        }
        int exponent = (int) Math.floor(Math.log10(Math.abs(value)) + 1e-9);
        return HumanNumbers.significant(value / Math.pow(10, exponent), 2) + "e" + exponent;
    }
}
