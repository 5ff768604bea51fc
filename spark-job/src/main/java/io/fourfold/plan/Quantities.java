package io.fourfold.plan;

import java.util.Locale;

/** Numbers as people read them. */
public final class Quantities {
    private static final String[] BINARY = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    private static final String[] DECIMAL = {"", " K", " M", " B", " T"};

    private Quantities() {}

    /** 1536 becomes {@code 1.5 KiB}. */
    public static String bytes(long bytes) {
        double value = bytes;
        int unit = 0;
        while (Math.abs(value) >= 1024 && unit < BINARY.length - 1) {
            value /= 1024;
            unit++;
        }
        return unit == 0 ? bytes + " B" : String.format(Locale.ROOT, "%.1f %s", value, BINARY[unit]);
    }

    /** 46702792704 becomes {@code 46.70 B} (10^9). */
    public static String count(long count) {
        double value = count;
        int unit = 0;
        while (Math.abs(value) >= 1000 && unit < DECIMAL.length - 1) {
            value /= 1000;
            unit++;
        }
        return unit == 0 ? Long.toString(count) : String.format(Locale.ROOT, "%.2f%s", value, DECIMAL[unit]);
    }

    /** FLOPs with an SI prefix. */
    public static String flops(double flops) {
        String[] prefixes = {"", "K", "M", "G", "T", "P", "E", "Z", "Y"};
        double value = flops;
        int unit = 0;
        while (value >= 1000 && unit < prefixes.length - 1) {
            value /= 1000;
            unit++;
        }
        return String.format(Locale.ROOT, "%.2f %sFLOP", value, prefixes[unit]);
    }

    public static String percent(double share) {
        return String.format(Locale.ROOT, "%.1f%%", 100 * share);
    }
}
