package io.fourfold.spark.watch;

import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.SparkPlugin;

/**
 * Lets the driver watch the ranks: {@code spark.plugins=io.fourfold.spark.watch.FourfoldPlugin}. Without it rank 0 writes
 * the run's files itself and the driver hears nothing before the end.
 */
public final class FourfoldPlugin implements SparkPlugin {
    @Override
    public DriverPlugin driverPlugin() {
        return new WatchDriver();
    }

    @Override
    public ExecutorPlugin executorPlugin() {
        return new WatchExecutor();
    }
}
