package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.util.concurrent.TimeUnit;
import org.apache.spark.SparkContext;

/** What must hold before a gang is started, so that a mistake shows at once and not after Spark's 40 retries. */
final class Preflight {
    private static final long WAIT_NANOS = TimeUnit.SECONDS.toNanos(30);
    private static final long POLL_MILLIS = 500;
    private static final String PROBE = ".write-check";

    private Preflight() {}

    static void check(SparkContext spark, int ranks, RunStorage run) {
        if (spark.conf().getBoolean("spark.dynamicAllocation.enabled", false)) {
            throw launch("dynamic allocation is on, and barrier stages cannot run with it (SPARK-24942). Submit with"
                    + " --conf spark.dynamicAllocation.enabled=false and fixed executors");
        }
        int slots = slots(spark, ranks);
        if (slots < ranks) {
            throw launch("parallel.world_size is " + ranks + ", but Spark (" + spark.master() + ") can run " + slots
                    + " tasks at once, and all ranks must run at the same time. "
                    + (spark.isLocal()
                            ? "Start Spark with --master local[" + ranks + "]"
                            : "Give it more executors or cores (spark.cores.max, --num-executors), free them from"
                                    + " other jobs")
                    + ", or lower world_size");
        }
        try {
            run.writeText(PROBE, "");
            run.delete(PROBE);
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "cannot write into the run folder " + run.location() + ": " + e
                            + ". Set run.dir to a folder you can write to",
                    e);
        }
    }

    /** Slots for concurrent tasks; on a cluster executors get some time to register. */
    private static int slots(SparkContext spark, int wanted) {
        long end = System.nanoTime() + WAIT_NANOS;
        while (true) {
            int slots =
                    spark.maxNumConcurrentTasks(spark.resourceProfileManager().defaultResourceProfile());
            if (slots >= wanted || spark.isLocal() || System.nanoTime() > end) {
                return slots;
            }
            try {
                Thread.sleep(POLL_MILLIS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return slots;
            }
        }
    }

    private static TrainingException launch(String message) {
        return new TrainingException(TrainingException.Code.TRAIN_LAUNCH, message + ".");
    }
}
