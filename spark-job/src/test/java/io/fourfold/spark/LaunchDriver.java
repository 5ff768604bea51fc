package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainResult;
import io.fourfold.train.restart.Attempt;
import io.fourfold.train.restart.AttemptException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.sql.SparkSession;

/** A driver in a process of its own that starts one gang of two ranks and prints what came of it. */
final class LaunchDriver {
    private LaunchDriver() {}

    /**
     * @param args folder of the run, and {@code isolated}, {@code shared} (fake GPUs) or {@code stubborn} (a rank hangs and
     *     ignores interrupts)
     */
    public static void main(String[] args) {
        boolean stubborn = args[1].equals("stubborn");
        Map<String, String> settings = new TreeMap<>(Map.of(
                "parallel.world_size",
                "2",
                "run.backend",
                stubborn ? "cpu" : "cuda",
                "run.dir",
                Path.of(args[0]).resolve("run").toString()));
        if (stubborn) {
            settings.put("run.timeouts.step_seconds", "3");
        }
        FourfoldConfig config = TinyRun.tinyConfig(settings);
        RankSetup setup = stubborn ? new HangingSetup(45, true) : new FakeGpuSetup(args[1].equals("isolated"));
        SparkSession spark = SparkSessions.open("launch", 2);
        try {
            Preflight.check(config, spark.sparkContext(), setup);
            RankTask task = new RankTask(
                    args[1],
                    ResolvedConfig.of(config).yaml(),
                    Attempt.first(2),
                    new RunIdentity("hash", "tokenizer", "test"),
                    1e6,
                    setup);
            TrainResult result = new GangRun(spark.sparkContext(), task, 2, "launch").run();
            System.out.println("steps " + result.lastStep());
        } catch (AttemptException e) {
            System.out.println("failed " + e.error().getMessage());
        } catch (RuntimeException e) {
            List.of(String.valueOf(e.getMessage()).split("\n")).forEach(line -> System.out.println("failed " + line));
        } finally {
            spark.stop();
            System.exit(0);
        }
    }
}
