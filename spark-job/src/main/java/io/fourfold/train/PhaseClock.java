package io.fourfold.train;

import java.util.LinkedHashMap;
import java.util.Map;

/** Splits a step's wall time into named parts. */
final class PhaseClock {
    private static final double NANOS = 1e-9;

    private final Map<String, Double> seconds = new LinkedHashMap<>();
    private final long start = System.nanoTime();
    private long last = start;

    /** Counts the time since the last call towards {@code phase}. */
    void end(String phase) {
        long now = System.nanoTime();
        seconds.merge(phase, (now - last) * NANOS, Double::sum);
        last = now;
    }

    Map<String, Double> seconds() {
        return seconds;
    }

    double total() {
        return (last - start) * NANOS;
    }
}
