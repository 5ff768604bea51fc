package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainResult;
import io.fourfold.train.TrainingException;
import java.nio.file.Path;
import java.util.Map;
import org.apache.spark.sql.SparkSession;

/**
 * A driver in a process of its own, for Spark takes SPARK_HOME from the environment. Trains the tiny run on the master that
 * the system property spark.master names and prints what came of it.
 */
final class ClusterDriver {
    private ClusterDriver() {}

    /**
     * @param args folder of the runs, ranks, steps after which rank 1 fails (-1: it does not), pipeline ranks
     */
    public static void main(String[] args) {
        int ranks = Integer.parseInt(args[1]);
        SparkSession spark = SparkSessions.open("gang", ranks);
        try {
            FourfoldConfig config = TinyRun.tinyConfig(Map.of(
                    "parallel.world_size",
                    args[1],
                    "run.dir",
                    Path.of(args[0]).resolve("run").toString(),
                    "parallel.pipeline_parallel_size",
                    args[3],
                    // Its tests are about one gang.
                    "run.restart.max_restarts",
                    "0",
                    "run.backend",
                    "cpu"));
            TrainResult result =
                    TrainJob.run(config, spark, "tokenizer", new SyntheticSetup(Integer.parseInt(args[2])));
            System.out.println("steps " + result.lastStep());
            System.out.println("loss " + Double.toHexString(result.loss()));
            System.out.println("validation " + Double.toHexString(result.validationLoss()));
        } catch (TrainingException e) {
            System.out.println("failed " + e.getMessage());
        } finally {
            spark.stop();
        }
    }
}
