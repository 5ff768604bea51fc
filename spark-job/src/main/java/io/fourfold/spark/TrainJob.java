package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigException;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import io.fourfold.metrics.EventKind;
import io.fourfold.plan.Plan;
import io.fourfold.plan.PlanJson;
import io.fourfold.plan.PreparedTokens;
import io.fourfold.spark.watch.RunWatch;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainResult;
import io.fourfold.train.TrainingException;
import io.fourfold.train.restart.Attempt;
import io.fourfold.train.restart.Pause;
import io.fourfold.train.restart.RestartLoop;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.UUID;
import java.util.function.Function;
import org.apache.spark.SparkContext;
import org.apache.spark.sql.SparkSession;

/**
 * Trains as one barrier stage: a task per rank, all started at the same moment. Writes the resolved configuration and the
 * plan into the run folder, starts gangs until one ends the run, and returns how it ended.
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
        Plan plan = Plan.of(config, Plan.DEFAULT_RANKS_PER_HOST, PreparedTokens.of(config.data()));
        if (!plan.obstacles().isEmpty()) {
            throw new ConfigException(plan.obstacles());
        }
        SparkContext spark = session.sparkContext();
        ResolvedConfig resolved = ResolvedConfig.of(config);
        RunIdentity identity = new RunIdentity(resolved.sha256(), tokenizer, Version.current());
        RunStorage folder = openFolder(config, spark);
        Preflight.check(config, spark, setup);
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
        writeFacts(folder, resolved, plan);
        double flops = plan.flopsPerToken().causal();
        Function<Attempt, RankTask> tasks = attempt -> new RankTask(
                spark.applicationId() + "-" + UUID.randomUUID(), resolved.yaml(), attempt, identity, flops, setup);
        try (RunWatch watch = RunWatch.open(config, folder);
                DriverFault fault = DriverFault.watch(config, folder)) {
            SparkGangs gangs = new SparkGangs(spark, config, folder, watch, tasks);
            return switch (config.run().restart().by()) {
                case SPARK -> gangs.rerunBySpark();
                case DRIVER ->
                    new RestartLoop(config, gangs, Pause.system(), line -> announce(line, gangs, watch)).run();
            };
        }
    }

    /** On standard error, for with --json standard output is for the result alone; and in the metrics. */
    private static void announce(String line, SparkGangs gangs, RunWatch watch) {
        System.err.println("fourfold: " + line);
        System.err.flush();
        watch.event(gangs.newestCheckpoint(), EventKind.RESTART, line);
    }

    private static RunStorage openFolder(FourfoldConfig config, SparkContext spark) {
        try {
            return RunFolders.open(config.run().dir(), spark.hadoopConfiguration());
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "cannot open the run folder " + config.run().dir() + ": " + FailureReason.of(e)
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
                    "cannot write config.yaml and plan.json into " + folder.location() + ": " + FailureReason.of(e)
                            + ". Free space there",
                    e);
        }
    }
}
