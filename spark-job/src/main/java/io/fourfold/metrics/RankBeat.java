package io.fourfold.metrics;

import java.time.Instant;

/**
 * Where a rank was when it was last heard of.
 *
 * @param host its machine
 * @param executor Spark's name of its process, empty outside Spark
 * @param step the step it worked on, 0 before the first one
 * @param phase the part of the step, see {@link MetricsSink#phase}
 * @param phaseSeconds how long it had been in that part
 * @param seen when it was heard of, on the listener's clock
 */
public record RankBeat(
        int rank, String host, String executor, int step, String phase, double phaseSeconds, Instant seen) {}
