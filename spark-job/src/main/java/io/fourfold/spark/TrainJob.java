package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigException;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import io.fourfold.plan.Plan;
import io.fourfold.plan.PlanJson;
import io.fourfold.spark.watch.RunWatch;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainResult;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.UUID;
import java.util.stream.IntStream;
import org.apache.spark.SparkContext;
import org.apache.spark.SparkException;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.rdd.RDD;
import org.apache.spark.sql.SparkSession;
import scala.reflect.ClassTag;
import scala.reflect.ClassTag$;

/**
 * Trains as one barrier stage: a task per rank, all started at the same moment. Writes the resolved configuration and the
 * plan into the run folder, starts the gang and returns how it ended.
 */
public final class TrainJob {
    private TrainJob() {}

    /**
     * Trains, or continues a run that stopped.
     *
     * @throws ConfigException when this version cannot train the configuration
     * @throws TrainingException with the first failing rank's error as cause; other ranks are named as consequences
     */
    public static TrainResult run(FourfoldConfig config, SparkSession session) {
        String fingerprint;
        try (Tokenizer tokenizer =
                Tokenizers.open(config.data().tokenizer(), config.data().endOfDocument())) {
            fingerprint = tokenizer.fingerprint();
        }
        return run(config, session, fingerprint, new PreparedDataSetup());
    }

    static TrainResult run(FourfoldConfig config, SparkSession session, String tokenizer, RankSetup setup) {
        Plan plan = Plan.of(config);
        if (!plan.obstacles().isEmpty()) {
            throw new ConfigException(plan.obstacles());
        }
        SparkContext spark = session.sparkContext();
        int ranks = config.parallel().worldSize();
        ResolvedConfig resolved = ResolvedConfig.of(config);
        RunIdentity identity = new RunIdentity(resolved.sha256(), tokenizer, Version.current());
        RunStorage folder = openFolder(config, spark);
        Preflight.check(spark, ranks, folder);
        Optional<Path> local = RunFolders.localPath(config.run().dir());
        try (RunLock lock = local.isPresent() ? RunLock.acquire(local.get()) : null) {
            return train(config, spark, folder, resolved, identity, plan, setup);
        }
    }

    private static TrainResult train(
            FourfoldConfig config,
            SparkContext spark,
            RunStorage folder,
            ResolvedConfig resolved,
            RunIdentity identity,
            Plan plan,
            RankSetup setup) {
        int ranks = config.parallel().worldSize();
        writeFacts(folder, resolved, plan);
        String runId = spark.applicationId() + "-" + UUID.randomUUID();
        RankTask task = new RankTask(
                runId, resolved.yaml(), identity, plan.flopsPerToken().causal(), setup);
        try (RunWatch watch = RunWatch.open(config, folder)) {
            watch.attempt(runId);
            List<RankReport> reports = runGang(spark, ranks, task, config.run().name());
            if (reports.stream().anyMatch(report -> report.failure() != null)) {
                throw GangFailure.of(reports);
            }
            return Objects.requireNonNull(reports.get(0).result());
        }
    }

    /** The reports by rank. */
    private static List<RankReport> runGang(SparkContext spark, int ranks, RankTask task, String name) {
        List<Integer> numbers = IntStream.range(0, ranks).boxed().toList();
        RDD<Integer> rdd = JavaSparkContext.fromSparkContext(spark)
                .parallelize(numbers, ranks)
                .rdd();
        ClassTag<RankReport> tag = ClassTag$.MODULE$.apply(RankReport.class);
        // A cancelled job then interrupts its tasks, so that ranks that wait for each other end at once.
        spark.setJobGroup(task.runId(), "train " + name, true);
        try {
            // Not mapPartitionsWithEvaluator: in Spark 4.2.0 its result is no barrier stage.
            List<RankReport> reports = new ArrayList<>(
                    rdd.barrier().mapPartitions(task, false, tag).toJavaRDD().collect());
            reports.sort(Comparator.comparingInt(RankReport::rank));
            return reports;
        } catch (Exception e) {
            // Spark throws its checked SparkException through Scala without declaring it.
            if (e instanceof SparkException || e instanceof RuntimeException) {
                StageFailure.reasonOfRank(e).ifPresent(reason -> {
                    throw new TrainingException(TrainingException.Code.TRAIN_RANK_FAILED, reason, e);
                });
                throw new TrainingException(
                        TrainingException.Code.TRAIN_LAUNCH,
                        "the barrier stage of " + ranks + " ranks did not finish: " + StageFailure.firstLine(e)
                                + ". Run the same command to continue from the last checkpoint.",
                        e);
            }
            throw new IllegalStateException(e);
        } finally {
            spark.clearJobGroup();
        }
    }

    private static RunStorage openFolder(FourfoldConfig config, SparkContext spark) {
        try {
            return RunFolders.open(config.run().dir(), spark.hadoopConfiguration());
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "cannot open the run folder " + config.run().dir() + ": " + e
                            + ". Correct run.dir, or add the file system's library to Spark",
                    e);
        }
    }

    private static void writeFacts(RunStorage folder, ResolvedConfig resolved, Plan plan) {
        try {
            folder.writeText("config.yaml", resolved.yaml());
            folder.writeText("plan.json", PlanJson.text(plan));
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "cannot write config.yaml and plan.json into " + folder.location() + ": " + e
                            + ". Free space there",
                    e);
        }
    }
}
