package io.fourfold.spark;

import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.SparkSession;

/**
 * Builds the session of a command. What spark-submit or the caller has set stays; the rest gets the settings that a gang of
 * barrier tasks needs. Without a master the session runs in this JVM.
 */
public final class SparkSessions {
    /**
     * Settings for every master; a value set elsewhere wins. Retries stay as they are, for data preparation needs them: a
     * gang is a result stage, which Spark never reruns.
     */
    private static final Map<String, String> BASELINE = Map.ofEntries(
            Map.entry("spark.dynamicAllocation.enabled", "false"),
            Map.entry("spark.speculation", "false"),
            Map.entry("spark.barrier.sync.timeout", "600"),
            Map.entry("spark.locality.wait", "0"),
            Map.entry("spark.task.reaper.enabled", "true"),
            Map.entry("spark.task.reaper.killTimeout", "60s"),
            Map.entry("spark.scheduler.minRegisteredResourcesRatio", "1.0"),
            Map.entry("spark.plugins", "io.fourfold.spark.watch.FourfoldPlugin"),
            // Names of metrics then stay the same from run to run.
            Map.entry("spark.metrics.namespace", "fourfold"),
            Map.entry(
                    "spark.metrics.conf.*.sink.prometheusServlet.class",
                    "org.apache.spark.metrics.sink.PrometheusServlet"),
            Map.entry("spark.metrics.conf.*.sink.prometheusServlet.path", "/metrics/prometheus"),
            Map.entry("spark.sql.session.timeZone", "UTC"));

    /** Further settings when everything runs in this JVM. */
    private static final Map<String, String> LOCAL = Map.of(
            "spark.ui.enabled", "false",
            "spark.driver.host", "127.0.0.1",
            "spark.driver.bindAddress", "127.0.0.1",
            // The reaper would end this whole JVM.
            "spark.task.reaper.killTimeout", "-1",
            "spark.sql.shuffle.partitions", "8");

    private SparkSessions() {}

    /**
     * The running session, or a new one.
     *
     * @param name shown in Spark's pages and logs
     * @param slots tasks that must run at the same time when everything runs in this JVM
     */
    public static SparkSession open(String name, int slots) {
        return open(name, slots, false);
    }

    /**
     * As above.
     *
     * @param ui start the web UI even when everything runs in this JVM
     */
    public static SparkSession open(String name, int slots, boolean ui) {
        // Reads the spark.* system properties, among them the master that spark-submit sets.
        SparkConf conf = new SparkConf().setIfMissing("spark.app.name", name);
        conf.setIfMissing("spark.master", "local[" + slots + "]");
        if (conf.get("spark.master").startsWith("local[")
                || conf.get("spark.master").equals("local")) {
            if (ui) {
                conf.setIfMissing("spark.ui.enabled", "true");
            }
            LOCAL.forEach(conf::setIfMissing);
        }
        BASELINE.forEach(conf::setIfMissing);
        return SparkSession.builder().config(conf).getOrCreate();
    }
}
