package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.spark.PreflightReport.Finding;
import io.fourfold.spark.PreflightReport.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.spark.SparkConf;

/** Spark settings with which a gang cannot run, or not well, and what a JVM needs to have been started with. */
final class SettingsCheck {
    /** Of {@code java.base}; Spark and Arrow reach into them. */
    private static final List<String> OPEN_PACKAGES =
            List.of("java.lang", "java.lang.invoke", "java.io", "java.net", "java.nio", "java.util", "sun.nio.ch");

    private SettingsCheck() {}

    static List<Finding> of(FourfoldConfig config, SparkConf conf) {
        List<Finding> found = new ArrayList<>();
        if (conf.getBoolean("spark.dynamicAllocation.enabled", false)) {
            found.add(error(
                    "dynamic allocation is on, and barrier stages cannot run with it (SPARK-24942)",
                    "Submit with --conf spark.dynamicAllocation.enabled=false and fixed executors"));
        }
        if (GangResources.lacksGpus(config, conf)) {
            found.add(error(
                    "run.backend is cuda, but the executors have no GPU (spark.executor.resource.gpu.amount is not set)",
                    "Take the lines of the GPU section of conf/spark/*.conf (docs/clusters.md), or set run.backend to"
                            + " cpu"));
        }
        if (GangResources.wantGpu(config, conf) && GangResources.gpusPerExecutor(conf) > 1) {
            found.add(warning(
                    "spark.executor.resource.gpu.amount is " + GangResources.gpusPerExecutor(conf)
                            + ": ranks share a process, in which NCCL can block several GPUs at once",
                    "Use executors with 1 GPU each"));
        }
        if (conf.getBoolean("spark.speculation", false)) {
            found.add(warning("spark.speculation is on: a copy of a rank would be one rank too many", "Turn it off"));
        }
        if (!Masters.isLocal(conf.get("spark.master", "")) && !conf.getBoolean("spark.task.reaper.enabled", false)) {
            found.add(warning(
                    "spark.task.reaper.enabled is off: a rank stuck in native code would hold its slot for ever",
                    "Set it to true and spark.task.reaper.killTimeout to 60s"));
        }
        return found;
    }

    /** What this JVM lacks; callable on driver and executors. */
    static List<Finding> ofThisJvm(String where, String optionsKey) {
        Module base = Object.class.getModule();
        Module ours = SettingsCheck.class.getModule();
        String closed = OPEN_PACKAGES.stream()
                .filter(name -> !base.isOpen(name, ours))
                .map(name -> "--add-opens=java.base/" + name + "=ALL-UNNAMED")
                .collect(Collectors.joining(" "));
        String tokenizers = Boolean.getBoolean("ai.djl.offline") ? "" : "-Dai.djl.offline=true";
        List<Finding> found = new ArrayList<>();
        if (!closed.isEmpty()) {
            found.add(new Finding(
                    Kind.LAUNCH,
                    where,
                    "the JVM lacks options that Spark and Arrow need on Java 17: " + closed,
                    "Take " + optionsKey + " from conf/spark/*.conf"));
        }
        if (!tokenizers.isEmpty()) {
            found.add(new Finding(
                    Kind.WARNING,
                    where,
                    "the JVM lacks " + tokenizers + ": a tokenizer may look for its library in the internet",
                    "Take " + optionsKey + " from conf/spark/*.conf"));
        }
        return found;
    }

    private static Finding error(String problem, String fix) {
        return new Finding(Kind.LAUNCH, "settings", problem, fix);
    }

    private static Finding warning(String problem, String fix) {
        return new Finding(Kind.WARNING, "settings", problem, fix);
    }
}
