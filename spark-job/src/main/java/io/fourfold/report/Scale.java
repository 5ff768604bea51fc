package io.fourfold.report;

import java.util.ArrayList;
import java.util.List;

/** Maps values to pixels, linearly or by logarithm, and knows where ticks belong. */
record Scale(double low, double high, double pixelLow, double pixelHigh, boolean logarithmic) {
    Scale {
        if (!(low < high) || logarithmic && low <= 0) {
            throw new IllegalArgumentException(
                    "A scale needs low < high (and low > 0 if logarithmic), not " + low + " and " + high);
        }
    }

    /** A linear scale over the values, widened when they are all equal. */
    static Scale linear(double low, double high, double pixelLow, double pixelHigh) {
        if (low < high) {
            return new Scale(low, high, pixelLow, pixelHigh, false);
        }
        double margin = low == 0 ? 1 : Math.abs(low) * 0.1;
        return new Scale(low - margin, low + margin, pixelLow, pixelHigh, false);
    }

    /** A logarithmic scale over positive values, widened when they are all equal. */
    static Scale logarithmic(double low, double high, double pixelLow, double pixelHigh) {
        return low < high
                ? new Scale(low, high, pixelLow, pixelHigh, true)
                : new Scale(low / 2, low * 2, pixelLow, pixelHigh, true);
    }

    double pixel(double value) {
        double share = logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
        return pixelLow + share * (pixelHigh - pixelLow);
    }

    /** About {@code count} round values within the scale. */
    List<Double> ticks(int count) {
        return logarithmic && high / low >= 20 ? powers() : multiples(tickStep(count));
    }

    /** The distance of linear ticks: 1, 2 or 5 times a power of ten. */
    double tickStep(int count) {
        double raw = (high - low) / Math.max(1, count);
        double power = Math.pow(10, Math.floor(Math.log10(raw)));
        double lead = raw / power;
        return (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10) * power;
    }

    private List<Double> multiples(double step) {
        List<Double> ticks = new ArrayList<>();
        long first = (long) Math.ceil(low / step - 1e-9);
        long last = (long) Math.floor(high / step + 1e-9);
        for (long tick = first; tick <= last; tick++) {
            ticks.add(tick * step);
        }
        return ticks;
    }

    private List<Double> powers() {
        List<Double> ticks = new ArrayList<>();
        int first = (int) Math.floor(Math.log10(low));
        int last = (int) Math.ceil(Math.log10(high));
        double[] leads = last - first <= 3 ? new double[] {1, 2, 5} : new double[] {1};
        for (int exponent = first; exponent <= last; exponent++) {
            for (double lead : leads) {
                double tick = lead * Math.pow(10, exponent);
                if (tick >= low * 0.999 && tick <= high * 1.001) {
                    ticks.add(tick);
                }
            }
        }
        return ticks;
    }
}
