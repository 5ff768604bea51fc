package io.fourfold.spark;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.VersionLimits;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkContext;
import org.apache.spark.rdd.RDD;
import org.apache.spark.resource.ResourceProfile;
import org.apache.spark.resource.ResourceProfileBuilder;
import org.apache.spark.resource.ResourceProfileManager;
import org.apache.spark.resource.TaskResourceRequests;

/**
 * What a rank asks Spark for, stage by stage: training takes one GPU a task, everything else of the same session none. So a
 * session needs no {@code spark.task.resource.gpu.amount}, with which data preparation would wait for GPUs, too.
 */
final class GangResources {
    private static final String GPUS_PER_EXECUTOR = "spark.executor.resource.gpu.amount";
    private static final String GPUS_PER_TASK = "spark.task.resource.gpu.amount";

    private GangResources() {}

    /** True when each rank trains on a GPU that Spark assigns. In one JVM Spark assigns none. */
    static boolean wantGpu(FourfoldConfig config, SparkConf conf) {
        if (Masters.isLocal(conf.get("spark.master", ""))) {
            return false;
        }
        return switch (config.run().backend()) {
            case CPU -> false;
            case CUDA -> true;
            case AUTO ->
                gpusPerExecutor(conf) > 0 && VersionLimits.cudaProblems(config).isEmpty();
        };
    }

    static int gpusPerExecutor(SparkConf conf) {
        return conf.getInt(GPUS_PER_EXECUTOR, 0);
    }

    /** The profile of the training stage. */
    static ResourceProfile profile(FourfoldConfig config, SparkContext spark) {
        SparkConf conf = spark.conf();
        boolean gpu = wantGpu(config, conf);
        boolean plain = !gpu && !conf.contains(GPUS_PER_TASK);
        // Local masters refuse profiles.
        if (plain || Masters.isLocal(spark.master())) {
            return spark.resourceProfileManager().defaultResourceProfile();
        }
        TaskResourceRequests requests = new TaskResourceRequests().cpus(conf.getInt("spark.task.cpus", 1));
        if (gpu) {
            requests.resource(AssignedGpu.RESOURCE, 1);
        }
        return registered(
                spark.resourceProfileManager(),
                new ResourceProfileBuilder().require(requests).build());
    }

    /** Spark counts slots only for profiles that it knows. */
    private static ResourceProfile registered(ResourceProfileManager manager, ResourceProfile profile) {
        var same = manager.getEquivalentProfile(profile);
        if (same.isDefined()) {
            return same.get();
        }
        manager.addResourceProfile(profile);
        return profile;
    }

    /** The same RDD, whose tasks get what a rank needs. */
    static <T> RDD<T> ask(RDD<T> rdd, String configYaml) {
        SparkContext spark = rdd.sparkContext();
        ResourceProfile profile =
                profile(ConfigLoader.parse("config.yaml", configYaml).config(), spark);
        return profile.id()
                        == spark.resourceProfileManager()
                                .defaultResourceProfile()
                                .id()
                ? rdd
                : rdd.withResources(profile);
    }

    /** True when ranks need GPUs that the executors were not given. */
    static boolean lacksGpus(FourfoldConfig config, SparkConf conf) {
        return wantGpu(config, conf) && gpusPerExecutor(conf) == 0;
    }
}
