package io.fourfold.spark;

import java.util.Collection;
import org.apache.spark.SparkContext;
import org.apache.spark.status.api.v1.ExecutorSummary;
import scala.jdk.javaapi.CollectionConverters;

/** How many tasks Spark can run at the same time, and where. */
final class Slots {
    private Slots() {}

    /** On all hosts. */
    static int all(SparkContext spark) {
        return spark.maxNumConcurrentTasks(spark.resourceProfileManager().defaultResourceProfile());
    }

    /** On all hosts but these. */
    static int outside(SparkContext spark, Collection<String> hosts) {
        int all = all(spark);
        if (hosts.isEmpty()) {
            return all;
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
