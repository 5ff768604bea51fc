package io.fourfold.spark.watch;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.metrics.MetricsLine;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.RankBeat;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.RunState;
import io.fourfold.metrics.Sinks;
import io.fourfold.metrics.StepMetrics;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A run as its driver sees it, over all its attempts. With the plugin the driver writes the run's files and keeps its state;
 * without it rank 0 writes them, and only events of the driver itself pass through here, between the attempts.
 */
public final class RunWatch implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RunWatch.class);

    private final FourfoldConfig config;
    private final RunStorage folder;
    private final @Nullable WatchDriver driver;
    private final RunState state = new RunState();
    private final @Nullable MetricsSink sinks;
    private @Nullable String attempt;

    private RunWatch(FourfoldConfig config, RunStorage folder, @Nullable WatchDriver driver) {
        this.config = config;
        this.folder = folder;
        this.driver = driver;
        if (driver == null) {
            sinks = null;
        } else {
            RunFiles files = RunFiles.open(config.run(), folder);
            state.seed(files.past());
            sinks = Sinks.all(List.of(files, state));
            driver.show(this);
        }
    }

    /** Watches a run that is about to start; {@code config.yaml} and {@code plan.json} are in the folder already. */
    public static RunWatch open(FourfoldConfig config, RunStorage folder) {
        return new RunWatch(config, folder, WatchDriver.current().orElse(null));
    }

    /** A gang is about to start under this identity; what ranks of the one before still send is dropped. */
    public synchronized void attempt(String runId) {
        endAttempt();
        if (driver != null) {
            attempt = runId;
            driver.begin(runId, this);
        }
    }

    /** Something the driver did or saw: written and shown like what rank 0 tells. Only between two attempts. */
    public synchronized void event(int step, String kind, String message) {
        if (sinks != null) {
            sinks.event(step, kind, message);
            return;
        }
        try (RunFiles files = RunFiles.open(config.run(), folder)) {
            files.event(step, kind, message);
        }
    }

    /** The last finished step that is known; empty when no metrics are there. */
    public OptionalInt lastStep() {
        if (sinks != null) {
            StepMetrics latest = state.latest();
            return latest == null ? OptionalInt.empty() : OptionalInt.of(latest.step());
        }
        try (RunFiles files = RunFiles.open(config.run(), folder)) {
            RunHistory past = files.past();
            return past.starts().isEmpty() ? OptionalInt.empty() : OptionalInt.of(past.lastStep());
        }
    }

    /** Where the ranks were last, by rank; empty without the plugin. */
    public List<RankBeat> ranks() {
        return state.beats();
    }

    RunState state() {
        return state;
    }

    synchronized void accept(String line) {
        try {
            Optional<RankBeat> beat = MetricsLine.asBeat(line, Instant.now());
            if (beat.isPresent()) {
                state.beat(beat.get());
            } else if (sinks != null) {
                MetricsLine.deliver(line, sinks);
            }
        } catch (IllegalArgumentException e) {
            LOG.warn("A rank sent something else than metrics: {}", e.getMessage());
        }
    }

    private void endAttempt() {
        String ended = attempt;
        attempt = null;
        if (ended != null && driver != null && sinks != null) {
            driver.end(ended);
            List<RankBeat> last = state.beats();
            if (!last.isEmpty()) {
                sinks.ranks(last);
            }
        }
    }

    /** The state stays to be shown until the next run or the end of Spark. */
    @Override
    public synchronized void close() {
        endAttempt();
        if (sinks != null) {
            sinks.close();
        }
    }
}
