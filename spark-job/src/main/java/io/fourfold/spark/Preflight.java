package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.data.DataException;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.TokenizerSource;
import io.fourfold.data.tokenize.Tokenizers;
import io.fourfold.spark.PreflightReport.Finding;
import io.fourfold.spark.PreflightReport.Kind;
import io.fourfold.spark.prep.CpuOnly;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.IntStream;
import org.apache.spark.SparkContext;
import org.apache.spark.api.java.JavaFutureAction;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;
import org.jspecify.annotations.Nullable;

/** What must hold before a gang is started, so that all mistakes show at once, in seconds, and not one after the other. */
public final class Preflight {
    private static final long PROBE_SECONDS = 60;

    /** Tasks of the probe: enough for one on every executor of a large cluster. */
    private static final int MOST_PROBES = 8192;

    private Preflight() {}

    /** All checks, for the command: the tokenizer is opened on driver and executors, too. */
    public static PreflightReport run(FourfoldConfig config, SparkSession session) {
        long start = System.nanoTime();
        List<Finding> problems = new ArrayList<>();
        TokenizerSource source = tokenizer(config, problems);
        return run(config, session.sparkContext(), new PreparedDataSetup(), source, problems, start);
    }

    /**
     * The checks at the start of training.
     *
     * @throws io.fourfold.train.TrainingException with everything that stands in the way
     */
    static void check(FourfoldConfig config, SparkContext spark, RankSetup setup) {
        run(config, spark, setup, null, new ArrayList<>(), System.nanoTime()).throwIfBlocked();
    }

    private static PreflightReport run(
            FourfoldConfig config,
            SparkContext spark,
            RankSetup setup,
            @Nullable TokenizerSource tokenizer,
            List<Finding> problems,
            long start) {
        int ranks = config.parallel().worldSize();
        boolean gpu = GangResources.wantGpu(config, spark.conf());
        problems.addAll(SettingsCheck.of(config, spark.conf()));
        if (!spark.isLocal()) {
            // In one JVM the executor's check is the driver's.
            problems.addAll(SettingsCheck.ofThisJvm("driver", "spark.driver.extraJavaOptions"));
        }
        boolean profiled = problems.stream().noneMatch(problem -> problem.kind() == Kind.LAUNCH);
        SlotCheck slots = SlotCheck.count(
                spark,
                profiled
                        ? GangResources.profile(config, spark)
                        : spark.resourceProfileManager().defaultResourceProfile(),
                ranks,
                config.run().timeouts().start());
        problems.addAll(slots.problems(spark, ranks, gpu));
        List<String> executors = new ArrayList<>();
        String token = ".preflight-" + UUID.randomUUID();
        RunStorage run = writeToken(config, spark, token, problems);
        if (run != null) {
            if (slots.total() > slots.busy()) {
                ExecutorProbe probe =
                        new ExecutorProbe(token, ResolvedConfig.of(config).yaml(), setup, token, tokenizer, gpu);
                executors.addAll(probe(spark, probe, Math.min(MOST_PROBES, slots.total() - slots.busy()), problems));
            }
            deleteToken(run, token, problems);
        }
        double seconds = (System.nanoTime() - start) * 1e-9;
        return new PreflightReport(
                spark.master(), ranks, slots.total(), slots.busy(), executors, gpu, problems, seconds);
    }

    private static @Nullable TokenizerSource tokenizer(FourfoldConfig config, List<Finding> problems) {
        String name = config.data().tokenizer();
        try {
            TokenizerSource source = Tokenizers.read(name, config.data().endOfDocument());
            try (Tokenizer opened = source.open()) {
                return opened.vocabSize() > 0 ? source : null;
            }
        } catch (DataException e) {
            problems.add(new Finding(Kind.DATA, "driver", String.valueOf(e.getMessage()), "Correct data.tokenizer"));
        } catch (LinkageError e) {
            problems.add(new Finding(
                    Kind.DATA,
                    "driver",
                    "the native library of the tokenizer " + name + " cannot be loaded: " + e,
                    "It is unpacked into the user's home or DJL_CACHE_DIR: make that writable, without noexec"));
        }
        return null;
    }

    private static @Nullable RunStorage writeToken(
            FourfoldConfig config, SparkContext spark, String token, List<Finding> problems) {
        String dir = config.run().dir();
        try {
            RunStorage run = RunFolders.open(dir, spark.hadoopConfiguration());
            run.writeText(token, token);
            return run;
        } catch (IOException | RuntimeException e) {
            problems.add(new Finding(
                    Kind.SETUP,
                    "driver",
                    "cannot write into the run folder " + dir + ": " + FailureReason.of(e),
                    "Set run.dir to a folder you can write to"));
            return null;
        }
    }

    private static void deleteToken(RunStorage run, String token, List<Finding> problems) {
        try {
            run.delete(token);
        } catch (IOException e) {
            problems.add(new Finding(
                    Kind.WARNING,
                    "driver",
                    "cannot delete " + token + " in " + run.location() + ": " + FailureReason.of(e),
                    "Remove it"));
        }
    }

    /** Runs a task in every free slot, so that each executor gets one; returns the executors. */
    private static Collection<String> probe(
            SparkContext spark, ExecutorProbe probe, int slots, List<Finding> problems) {
        JavaSparkContext context = JavaSparkContext.fromSparkContext(spark);
        List<Integer> numbers = IntStream.range(0, slots).boxed().toList();
        spark.setJobGroup(probe.id(), "preflight", true);
        Map<String, ExecutorProbe.Result> results = new LinkedHashMap<>();
        try {
            JavaFutureAction<List<ExecutorProbe.Result>> job = CpuOnly.stage(
                            context, context.parallelize(numbers, slots))
                    .map(probe)
                    .collectAsync();
            try {
                job.get(PROBE_SECONDS, TimeUnit.SECONDS).forEach(result -> results.put(result.executor(), result));
            } catch (TimeoutException e) {
                job.cancel(true);
                problems.add(failed("the executors did not answer within " + PROBE_SECONDS + " s"));
            } catch (ExecutionException e) {
                problems.add(failed(StageFailure.firstLine(e.getCause() == null ? e : e.getCause())));
            } catch (InterruptedException e) {
                job.cancel(true);
                Thread.currentThread().interrupt();
            }
        } finally {
            spark.clearJobGroup();
        }
        results.values().forEach(result -> problems.addAll(result.problems()));
        return results.keySet();
    }

    private static Finding failed(String problem) {
        return new Finding(
                Kind.LAUNCH,
                "executors",
                "a small job that looks at them failed: " + problem,
                "Read an executor's log: it may lack the job jar, Java 17, or the way to the driver");
    }
}
