package io.fourfold.spark.watch;

import io.fourfold.metrics.LineSink;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.SafeSink;
import io.fourfold.metrics.Sinks;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.PluginContext;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The executor's end of the channel: the sinks of its ranks, and one thread that tells the driver where they are. */
public final class WatchExecutor implements ExecutorPlugin {
    private static final Logger LOG = LoggerFactory.getLogger(WatchExecutor.class);
    private static final long BEAT_MILLIS = 1000;

    /** Spark makes the plugin and tells nobody; a rank finds it here. One a process: local mode has one executor. */
    private static volatile @Nullable WatchExecutor current;

    private final Set<RankProgress> ranks = ConcurrentHashMap.newKeySet();
    private final ScheduledExecutorService beats = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "fourfold-heartbeat");
        thread.setDaemon(true);
        return thread;
    });
    private @Nullable PluginContext context;

    @Override
    public void init(PluginContext pluginContext, Map<String, String> extra) {
        context = pluginContext;
        beats.scheduleWithFixedDelay(this::beat, BEAT_MILLIS, BEAT_MILLIS, TimeUnit.MILLISECONDS);
        current = this;
    }

    @Override
    public void shutdown() {
        beats.shutdownNow();
        if (current == this) {
            current = null;
        }
    }

    /**
     * A sink whose lines go to the driver, empty where the plugin is not configured. Rank 0's sink sends everything; the
     * others' only where they are. Closing rank 0's returns when the driver has all of it.
     *
     * @param attempt identity of the attempt, known to the driver
     */
    public static Optional<MetricsSink> sink(String attempt, int rank, String host) {
        WatchExecutor watch = current;
        return watch == null ? Optional.empty() : Optional.of(watch.open(attempt, rank, host));
    }

    private MetricsSink open(String attempt, int rank, String host) {
        PluginContext channel = context();
        RankProgress progress = new RankProgress(attempt, rank, host, channel.executorID(), this::end);
        ranks.add(progress);
        if (rank != 0) {
            return progress;
        }
        MetricsSink lines = new LineSink(line -> send(new ChannelMessage(attempt, line)));
        MetricsSink flush = new FlushOnClose(() -> channel.ask(new ChannelMessage(attempt, "").text()));
        // The progress is closed first, so that the flush covers its last word.
        return Sinks.all(List.of(progress, new SafeSink(lines, "to the driver", LOG::warn), flush));
    }

    private void beat() {
        ranks.forEach(this::beat);
    }

    private void beat(RankProgress rank) {
        try {
            send(new ChannelMessage(rank.attempt(), rank.line()));
        } catch (RuntimeException e) {
            // The driver is gone or busy: the next beat says the same and more, and executors without a driver end.
            LOG.debug("no heartbeat of rank {}", rank, e);
        }
    }

    /** A rank's last word tells where it ended. */
    private void end(RankProgress rank) {
        ranks.remove(rank);
        beat(rank);
    }

    private void send(ChannelMessage message) {
        try {
            context().send(message.text());
        } catch (IOException e) {
            throw new UncheckedIOException("no message to the driver", e);
        }
    }

    private PluginContext context() {
        PluginContext initialized = context;
        if (initialized == null) {
            throw new IllegalStateException("Spark has not initialized the plugin");
        }
        return initialized;
    }
}
