package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainResult;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerExecutorAdded;
import org.apache.spark.scheduler.SparkListenerExecutorRemoved;
import org.apache.spark.sql.SparkSession;

/**
 * A driver in a process of its own that trains the tiny run with faults. Prints when executors come and go, and how the run
 * ended.
 */
final class RestartDriver {
    private RestartDriver() {}

    /**
     * @param args run folder, folder of the {@link ReadLog}, then settings {@code key=value}
     */
    public static void main(String[] args) {
        Map<String, String> settings = new TreeMap<>();
        for (int i = 2; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        settings.put("run.dir", Path.of(args[0]).toString());
        settings.put("run.backend", "cpu");
        FourfoldConfig config = TinyRun.tinyConfig(settings);
        SparkSession spark = SparkSessions.open("faults", config.parallel().worldSize());
        spark.sparkContext().addSparkListener(new Comings());
        try {
            TrainResult result = TrainJob.run(config, spark, "tokenizer", new RecordingSetup(args[1]));
            System.out.println("result " + result.lastStep() + " " + Double.toHexString(result.loss()));
        } finally {
            spark.stop();
        }
    }

    private static final class Comings extends SparkListener {
        @Override
        public void onExecutorAdded(SparkListenerExecutorAdded added) {
            System.out.println("added " + Instant.ofEpochMilli(added.time()) + " " + added.executorId());
        }

        @Override
        public void onExecutorRemoved(SparkListenerExecutorRemoved removed) {
            System.out.println("removed " + Instant.ofEpochMilli(removed.time()) + " " + removed.executorId());
        }
    }
}
