package io.fourfold.spark.watch;

import io.fourfold.spark.ui.FourfoldTab;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.spark.SparkContext;
import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.PluginContext;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The driver's end of the channel: gives each line to the run it belongs to. */
final class WatchDriver implements DriverPlugin {
    private static final Logger LOG = LoggerFactory.getLogger(WatchDriver.class);

    /** Spark makes the plugin and tells nobody; a job finds it here. A process has one SparkContext at a time. */
    private static volatile @Nullable WatchDriver current;

    private final Map<String, RunWatch> attempts = new ConcurrentHashMap<>();
    private volatile @Nullable RunWatch shown;

    static Optional<WatchDriver> current() {
        return Optional.ofNullable(current);
    }

    @Override
    public Map<String, String> init(SparkContext spark, PluginContext context) {
        current = this;
        FourfoldTab.attach(spark, () -> {
            RunWatch run = shown;
            return run == null ? null : run.state();
        });
        return Map.of();
    }

    @Override
    public void registerMetrics(String application, PluginContext context) {
        RunGauges.register(context.metricRegistry(), () -> {
            RunWatch run = shown;
            return run == null ? null : run.state();
        });
    }

    /** Spark calls this from one thread, in the order in which an executor sent. */
    @Override
    public @Nullable Object receive(Object message) {
        ChannelMessage parsed = ChannelMessage.parse(String.valueOf(message));
        RunWatch run = attempts.get(parsed.attempt());
        if (run == null) {
            // An attempt that was given up: what its ranks still say must not mix with the next one's.
            LOG.debug("a line of attempt {} came too late", parsed.attempt());
        } else if (!parsed.line().isEmpty()) {
            run.accept(parsed.line());
        }
        // Spark wants no answer to what asks for none.
        return parsed.line().isEmpty() ? "taken" : null;
    }

    @Override
    public void shutdown() {
        if (current == this) {
            current = null;
        }
    }

    void show(RunWatch run) {
        shown = run;
    }

    void begin(String attempt, RunWatch run) {
        attempts.put(attempt, run);
    }

    void end(String attempt) {
        attempts.remove(attempt);
    }
}
