package io.fourfold.metrics;

import java.util.Locale;

/** Numbers as a person reads them; the same in every locale. */
public final class HumanNumbers {
    private static final String[] DECIMAL_PREFIXES = {"", "k", "M", "B", "T"};
    private static final String[] BINARY_PREFIXES = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};

    private HumanNumbers() {}

    /** 1234567 as "1,234,567". */
    public static String grouped(long value) {
        return String.format(Locale.ROOT, "%,d", value);
    }

    /** A number with what it counts: "1 file", "1,200 files". */
    public static String counted(long count, String noun) {
        return grouped(count) + " " + noun + (count == 1 ? "" : "s");
    }

    /** Three significant digits with a decimal prefix: 12345 as "12.3k", 7e9 as "7B" (billion). */
    public static String compact(double value) {
        if (!Double.isFinite(value)) {
            return plain(value);
        }
        double scaled = Math.abs(value);
        int prefix = 0;
        // 999.5 already rounds to "1000".
        while (scaled >= 999.5 && prefix < DECIMAL_PREFIXES.length - 1) {
            scaled /= 1000;
            prefix++;
        }
        String sign = value < 0 ? "-" : "";
        return sign + significant(scaled, 3) + DECIMAL_PREFIXES[prefix];
    }

    /** FLOP/s with an SI prefix: 1.5e12 as "1.50 TFLOP/s". */
    public static String flops(double perSecond) {
        String[] prefixes = {"", "k", "M", "G", "T", "P", "E"};
        double scaled = perSecond;
        int prefix = 0;
        while (scaled >= 999.5 && prefix < prefixes.length - 1) {
            scaled /= 1000;
            prefix++;
        }
        return significant(scaled, 3) + " " + prefixes[prefix] + "FLOP/s";
    }

    /** Bytes with a binary prefix: 1536 as "1.5 KiB". */
    public static String bytes(double value) {
        double scaled = value;
        int prefix = 0;
        while (Math.abs(scaled) >= 1023.5 && prefix < BINARY_PREFIXES.length - 1) {
            scaled /= 1024;
            prefix++;
        }
        return significant(scaled, 3) + " " + BINARY_PREFIXES[prefix];
    }

    /** Seconds as "0.25 s", "12.3 s", "4m 05s", "3h 02m" or "2d 05h". */
    public static String duration(double seconds) {
        if (!Double.isFinite(seconds) || seconds < 0) {
            return plain(seconds);
        }
        if (seconds < 59.95) {
            return significant(seconds, seconds < 1 ? 2 : 3) + " s";
        }
        long whole = Math.round(seconds);
        if (whole < 3600) {
            return String.format(Locale.ROOT, "%dm %02ds", whole / 60, whole % 60);
        }
        if (whole < 48 * 3600) {
            return String.format(Locale.ROOT, "%dh %02dm", whole / 3600, whole / 60 % 60);
        }
        return String.format(Locale.ROOT, "%dd %02dh", whole / 86400, whole / 3600 % 24);
    }

    /** A share of 1 as percent: 0.0123 as "1.23%". */
    public static String percent(double share) {
        return Double.isFinite(share) ? significant(share * 100, 3) + "%" : plain(share);
    }

    /** A loss or norm: four decimals, or scientific where that would hide the value. */
    public static String measure(double value) {
        if (!Double.isFinite(value)) {
            return plain(value);
        }
        double magnitude = Math.abs(value);
        boolean readable = magnitude == 0 || magnitude >= 0.001 && magnitude < 1e5;
        return String.format(Locale.ROOT, readable ? "%.4f" : "%.3e", value);
    }

    /** A learning rate: "3.00e-04". */
    public static String scientific(double value) {
        return Double.isFinite(value) ? String.format(Locale.ROOT, "%.2e", value) : plain(value);
    }

    /** {@code value} with that many significant digits, no exponent between 1e-4 and 1e9, no trailing zeros. */
    public static String significant(double value, int digits) {
        if (!Double.isFinite(value)) {
            return plain(value);
        }
        double magnitude = Math.abs(value);
        if (magnitude == 0) {
            return "0";
        }
        if (magnitude < 1e-4 || magnitude >= 1e9) {
            return String.format(Locale.ROOT, "%." + (digits - 1) + "e", value);
        }
        int decimals = Math.max(0, digits - 1 - (int) Math.floor(Math.log10(magnitude)));
        String text = String.format(Locale.ROOT, "%." + decimals + "f", value);
        return text.contains(".") ? text.replaceAll("0+$", "").replaceAll("\\.$", "") : text;
    }

    private static String plain(double value) {
        return Double.isNaN(value) ? "NaN" : value > 0 ? "inf" : value < 0 ? "-inf" : Double.toString(value);
    }
}
