package io.fourfold.config;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One fault to inject, written {@code kind rank=R step=S times=N seconds=T}. It strikes when the rank begins its first step
 * from {@code step} on, and again at later steps until it has struck {@code times} times in the life of the run folder.
 *
 * @param text as written; names the fault in the run folder
 * @param rank the rank it strikes
 * @param step first step, from 1
 * @param times how often it strikes
 * @param seconds how long, for faults that last
 */
public record FaultSpec(String text, Kind kind, int rank, int step, int times, double seconds) {
    /** What goes wrong. */
    public enum Kind {
        /** The executor's process ends at once; the rank fails where all ranks share the driver's process. */
        CRASH,
        /** The rank stops answering, until it is interrupted or its seconds (default: no limit) are over. */
        HANG,
        /** The rank takes its seconds (default 1) longer for the step. */
        SLOW,
        /** A gradient becomes NaN. */
        NON_FINITE,
        /** The reader finds a shard file that ends too early. */
        TRUNCATED_SHARD,
        /** Writing a checkpoint of this or a later step finds the disk full. */
        FULL_DISK,
        /** The driver's process ends at once; the same command continues. */
        DRIVER_RESTART
    }

    private static final List<String> NAMES = List.of("rank", "step", "times", "seconds");

    /**
     * @throws IllegalArgumentException saying what is wrong with the text
     */
    public static FaultSpec parse(String text) {
        String[] words = text.strip().split("\\s+", -1);
        Kind kind = kind(words[0]);
        Map<String, String> values = new HashMap<>();
        for (int i = 1; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            if (pair.length < 2 || !NAMES.contains(pair[0]) || values.put(pair[0], pair[1]) != null) {
                throw new IllegalArgumentException(
                        words[i] + " is not one of rank=, step=, times=, seconds=, each given once");
            }
        }
        int step = whole("step", values.get("step"), 1);
        // The driver belongs to no rank; the first one tells it.
        int rank = values.containsKey("rank") || kind != Kind.DRIVER_RESTART ? whole("rank", values.get("rank"), 0) : 0;
        int times = whole("times", values.getOrDefault("times", "1"), 1);
        double seconds = kind == Kind.HANG ? Double.POSITIVE_INFINITY : 1;
        if (values.containsKey("seconds")) {
            if (kind != Kind.HANG && kind != Kind.SLOW) {
                throw new IllegalArgumentException("seconds belongs to hang and slow");
            }
            seconds = seconds(Objects.requireNonNull(values.get("seconds")));
        }
        return new FaultSpec(String.join(" ", words), kind, rank, step, times, seconds);
    }

    private static Kind kind(String word) {
        for (Kind kind : Kind.values()) {
            if (SettingKeys.word(kind).equals(word)) {
                return kind;
            }
        }
        throw new IllegalArgumentException("'" + word + "' is no kind of fault; there are "
                + String.join(
                        ", ",
                        Arrays.stream(Kind.values()).map(SettingKeys::word).toList()));
    }

    private static int whole(String name, @Nullable String text, int least) {
        if (text == null) {
            throw new IllegalArgumentException(name + "= is missing");
        }
        try {
            int value = Integer.parseInt(text);
            if (value >= least) {
                return value;
            }
        } catch (NumberFormatException e) {
            // Said below.
        }
        throw new IllegalArgumentException(
                String.format(Locale.ROOT, "%s=%s is not a whole number of at least %d", name, text, least));
    }

    private static double seconds(String text) {
        try {
            double value = Double.parseDouble(text);
            if (value > 0) {
                return value;
            }
        } catch (NumberFormatException e) {
            // Said below.
        }
        throw new IllegalArgumentException("seconds=" + text + " is not a number above 0");
    }
}
