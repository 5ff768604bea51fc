package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import java.util.Collection;
import org.apache.spark.SparkContext;
import org.apache.spark.status.api.v1.ExecutorSummary;
import scala.jdk.javaapi.CollectionConverters;

/** How many tasks Spark can run at the same time, and where. */
final class Slots {
    private Slots() {}

    /** On all hosts, of tasks that ask for what a rank asks for. */
    static int all(SparkContext spark, FourfoldConfig config) {
        return spark.maxNumConcurrentTasks(GangResources.profile(config, spark));
    }

    /** On all hosts but these. */
    static int outside(SparkContext spark, FourfoldConfig config, Collection<String> hosts) {
        int all = all(spark, config);
        if (hosts.isEmpty()) {
            return all;
        }
        if (Masters.isLocal(spark.master())) {
            return 0;
        }
        int there = 0;
        for (ExecutorSummary executor :
                CollectionConverters.asJava(spark.statusStore().executorList(true))) {
            String host = executor.hostPort().replaceFirst(":\\d+$", "");
            // The driver is listed too; it has slots only where it is the executor.
            if (hosts.contains(host) && executor.isActive()) {
                there += executor.maxTasks();
            }
        }
        return Math.max(0, all - there);
    }
}
