package io.fourfold.spark.prep;

import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.resource.ResourceProfileBuilder;
import org.apache.spark.resource.TaskResourceRequests;

/** Keeps data preparation and checks from waiting for GPUs in a session whose tasks ask for one each. */
public final class CpuOnly {
    private static final String GPU_PER_TASK = "spark.task.resource.gpu.amount";

    private CpuOnly() {}

    /** Asks for one core a task and nothing else, where the session would ask for more. */
    public static <T> JavaRDD<T> stage(JavaSparkContext context, JavaRDD<T> rdd) {
        SparkConf conf = context.getConf();
        // Local masters refuse resource profiles, and have no GPU scheduling to avoid.
        if (!conf.contains(GPU_PER_TASK)
                || context.master().startsWith("local[")
                || context.master().equals("local")) {
            return rdd;
        }
        ResourceProfileBuilder profile = new ResourceProfileBuilder();
        profile.require(new TaskResourceRequests().cpus(1));
        return rdd.withResources(profile.build());
    }
}
