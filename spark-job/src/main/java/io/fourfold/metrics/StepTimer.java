package io.fourfold.metrics;

/** Time left, from a running mean of step times that follows changes of speed. */
final class StepTimer {
    /** Weight of the newest step once enough have been seen. */
    private static final double NEWEST = 0.1;

    private double seconds;
    private int seen;

    void add(double stepSeconds) {
        if (!Double.isFinite(stepSeconds) || stepSeconds < 0) {
            return;
        }
        seen++;
        // The first step pays for warm-up (class loading, JIT, page faults): the second one replaces it.
        double weight = seen <= 2 ? 1 : Math.max(NEWEST, 1.0 / (seen - 1));
        seconds += weight * (stepSeconds - seconds);
    }

    /** Seconds until {@code totalSteps}, NaN before the first step. */
    double remaining(int step, int totalSteps) {
        return seen == 0 ? Double.NaN : Math.max(0, totalSteps - step) * seconds;
    }
}
