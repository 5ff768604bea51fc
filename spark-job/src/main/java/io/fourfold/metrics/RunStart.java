package io.fourfold.metrics;

import java.time.Instant;

/**
 * One start of a run.
 *
 * @param attempt 1 for the first one
 * @param firstStep the first step it ran
 */
public record RunStart(int attempt, Instant time, int firstStep) {}
