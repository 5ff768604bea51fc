package io.fourfold.spark;

import io.fourfold.spark.PreflightReport.Finding;
import io.fourfold.spark.PreflightReport.Kind;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.spark.SparkContext;
import org.apache.spark.SparkStageInfo;
import org.apache.spark.resource.ResourceProfile;

/**
 * How many tasks can run at the same moment, and who holds the others' places. Spark itself would try 40 times, 15 s
 * apart, before it says SPARK-24819.
 *
 * @param total tasks that the executors can run at once
 * @param executors that have registered
 * @param holders running stages of other jobs, with their tasks
 * @param busy tasks of these
 */
record SlotCheck(int total, int executors, List<String> holders, int busy) {
    /** Executors that come at all come one after the other; a pause this long means that there are no more. */
    private static final long QUIET_NANOS = TimeUnit.SECONDS.toNanos(15);

    private static final long POLL_MILLIS = 250;

    /**
     * Counts; on a cluster, executors get some time to register.
     *
     * @param patience until the first executor
     */
    static SlotCheck count(SparkContext spark, ResourceProfile profile, int wanted, Duration patience) {
        long start = System.nanoTime();
        long changed = start;
        int before = 0;
        while (true) {
            SlotCheck now = now(spark, profile);
            long time = System.nanoTime();
            if (now.executors != before) {
                changed = time;
                before = now.executors;
            }
            boolean over = now.executors == 0 ? time - start > patience.toNanos() : time - changed > QUIET_NANOS;
            if (now.total >= wanted || spark.isLocal() || over) {
                return now;
            }
            try {
                Thread.sleep(POLL_MILLIS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return now;
            }
        }
    }

    private static SlotCheck now(SparkContext spark, ResourceProfile profile) {
        List<String> holders = new ArrayList<>();
        int busy = 0;
        for (int stage : spark.statusTracker().getActiveStageIds()) {
            var info = spark.statusTracker().getStageInfo(stage);
            SparkStageInfo running = info.isDefined() ? info.get() : null;
            if (running != null && running.numActiveTasks() > 0) {
                busy += running.numActiveTasks();
                holders.add("stage " + stage + " '" + running.name() + "' (" + running.numActiveTasks() + " tasks)");
            }
        }
        // The driver has an entry, too.
        int executors = spark.isLocal() ? 1 : spark.statusTracker().getExecutorInfos().length - 1;
        return new SlotCheck(spark.maxNumConcurrentTasks(profile), Math.max(0, executors), holders, busy);
    }

    /** What keeps so many ranks from starting at once. */
    List<Finding> problems(SparkContext spark, int ranks, boolean gpus) {
        if (total < ranks) {
            return List.of(new Finding(Kind.LAUNCH, "slots", tooFew(spark, ranks, gpus), moreOf(spark, ranks, gpus)));
        }
        if (total - busy < ranks) {
            return List.of(new Finding(
                    Kind.LAUNCH,
                    "slots",
                    "parallel.world_size is " + ranks + ", and of " + total
                            + " slots other jobs of this application hold " + busy + ": " + String.join(", ", holders),
                    "Wait for these jobs or cancel them (Spark's page 'Jobs')"));
        }
        return List.of();
    }

    private String tooFew(SparkContext spark, int ranks, boolean gpus) {
        String have = "parallel.world_size is " + ranks + ", but Spark (" + spark.master() + ") can run " + total
                + " tasks at once" + (gpus ? " that take a GPU each" : "")
                + ", and all ranks must run at the same time";
        if (spark.isLocal()) {
            return have;
        }
        var conf = spark.conf();
        String asked =
                List.of("spark.executor.instances", "spark.executor.cores", "spark.cores.max", "spark.task.cpus")
                        .stream()
                        .filter(conf::contains)
                        .map(key -> key + "=" + conf.get(key))
                        .collect(Collectors.joining(", "));
        return have + "; " + executors + (executors == 1 ? " executor has" : " executors have")
                + " registered (asked for: " + (asked.isEmpty() ? "the cluster's defaults" : asked) + ")";
    }

    private static String moreOf(SparkContext spark, int ranks, boolean gpus) {
        if (spark.isLocal()) {
            return "Start Spark with --master local[" + ranks + "], or lower world_size";
        }
        return "Give it more executors" + (gpus ? " and GPUs" : " or cores")
                + " (spark.cores.max, --num-executors), end"
                + " other applications that hold them (the cluster manager's page lists them), or lower world_size";
    }
}
