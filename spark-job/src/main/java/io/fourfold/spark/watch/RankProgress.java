package io.fourfold.spark.watch;

import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.MetricsLine;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.RankBeat;
import io.fourfold.metrics.StepMetrics;
import java.time.Instant;
import java.util.Map;
import java.util.function.Consumer;

/** Keeps where a rank is. Written by the rank's thread, read by the heartbeat's. */
final class RankProgress implements MetricsSink {
    private static final double NANOS = 1e-9;

    private record Place(int step, String phase, long since) {}

    private final String attempt;
    private final int rank;
    private final String host;
    private final String executor;
    private final Consumer<RankProgress> closed;
    private volatile Place place = new Place(0, "start", System.nanoTime());

    RankProgress(String attempt, int rank, String host, String executor, Consumer<RankProgress> closed) {
        this.attempt = attempt;
        this.rank = rank;
        this.host = host;
        this.executor = executor;
        this.closed = closed;
    }

    String attempt() {
        return attempt;
    }

    String line() {
        Place now = place;
        double seconds = (System.nanoTime() - now.since()) * NANOS;
        return MetricsLine.beat(new RankBeat(rank, host, executor, now.step(), now.phase(), seconds, Instant.now()));
    }

    @Override
    public void phase(int step, String phase) {
        place = new Place(step, phase, System.nanoTime());
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {}

    @Override
    public void step(StepMetrics metrics) {}

    @Override
    public void evaluation(EvalMetrics metrics) {}

    @Override
    public void event(int step, String kind, String message) {}

    @Override
    public void close() {
        closed.accept(this);
    }

    @Override
    public String toString() {
        return rank + " on " + host;
    }
}
