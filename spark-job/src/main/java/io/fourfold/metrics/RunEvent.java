package io.fourfold.metrics;

import java.time.Instant;

/**
 * Something that happened during a run.
 *
 * @param step the last finished step
 * @param kind see {@link EventKind}
 * @param attempt 1 for the first start of the run, one more for each later start
 */
public record RunEvent(int step, String kind, String message, Instant time, int attempt) {}
