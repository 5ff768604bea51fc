package io.fourfold.cli;

import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.metrics.HumanNumbers;
import io.fourfold.report.RunReport;
import io.fourfold.spark.Preflight;
import io.fourfold.spark.PreflightReport;
import io.fourfold.spark.RunFolders;
import io.fourfold.spark.SparkSessions;
import io.fourfold.spark.TrainJob;
import io.fourfold.spark.prep.PrepareJob;
import io.fourfold.spark.prep.PrepareReport;
import io.fourfold.train.TrainResult;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.apache.spark.sql.SparkSession;

/** The part of {@code prepare} and {@code train} that needs Spark, apart so that nothing else loads it. */
final class SparkCommands {
    private SparkCommands() {}

    static ExitCode prepare(FourfoldConfig config, boolean dryRun, CommonOptions common) {
        int slots = Runtime.getRuntime().availableProcessors();
        boolean running = SparkSession.getDefaultSession().isDefined();
        SparkSession spark =
                SparkSessions.open("fourfold prepare " + config.run().name(), slots);
        try {
            PrepareReport report = PrepareJob.run(config, spark, dryRun);
            if (common.json) {
                common.printJson(report);
            } else {
                if (report.dryRun()) {
                    common.say("Dry run: nothing was written");
                }
                for (PrepareReport.DataSetReport dataSet : report.dataSets()) {
                    common.say("%s", dataSet.line());
                    dataSet.examples().forEach(example -> common.say("  skipped: %s", example));
                }
                common.say("Prepared in %.1f s", report.seconds());
            }
        } finally {
            stop(spark, running);
        }
        return ExitCode.OK;
    }

    static ExitCode preflight(FourfoldConfig config, CommonOptions common) {
        int ranks = config.parallel().worldSize();
        boolean running = SparkSession.getDefaultSession().isDefined();
        SparkSession spark =
                SparkSessions.open("fourfold preflight " + config.run().name(), ranks);
        try {
            PreflightReport report = Preflight.run(config, spark);
            if (common.json) {
                common.printJson(report);
            } else {
                common.say(
                        "%s%s on %s: %s, %d busy, %s looked at, %.1f s",
                        HumanNumbers.counted(report.ranks(), "rank"),
                        report.gpus() ? " with a GPU each" : "",
                        report.master(),
                        HumanNumbers.counted(report.slots(), "slot"),
                        report.busy(),
                        HumanNumbers.counted(report.executors().size(), "executor"),
                        report.seconds());
                report.problems()
                        .forEach(problem ->
                                common.say("  %s %s", problem.kind().name().toLowerCase(Locale.ROOT), problem));
                common.say(
                        "%s",
                        report.errors().isEmpty()
                                ? "Ready to train"
                                : HumanNumbers.counted(report.errors().size(), "problem")
                                        + ": training would not start");
            }
            return exitCode(report);
        } finally {
            stop(spark, running);
        }
    }

    private static ExitCode exitCode(PreflightReport report) {
        if (report.errors().isEmpty()) {
            return ExitCode.OK;
        }
        boolean data = report.errors().stream().allMatch(error -> error.kind() == PreflightReport.Kind.DATA);
        return data ? ExitCode.DATA : ExitCode.TRAINING;
    }

    /**
     * @param local the run folder is on this machine's disk and was compared with the configuration already
     * @param ui start Spark's web UI even where everything runs in this process
     */
    static ExitCode train(FourfoldConfig config, boolean local, boolean ui, CommonOptions common) {
        PrintStream console = System.out;
        if (common.json) {
            // Step lines go to standard output; with --json that is for the result alone.
            System.setOut(System.err);
        }
        int ranks = config.parallel().worldSize();
        boolean running = SparkSession.getDefaultSession().isDefined();
        SparkSession spark = SparkSessions.open("fourfold train " + config.run().name(), ranks, ui);
        try {
            if (!local) {
                compare(config, spark, common);
            }
            if (spark.sparkContext().uiWebUrl().isDefined()) {
                common.say(
                        "Watch it at %s/fourfold/",
                        spark.sparkContext().uiWebUrl().get());
            }
            TrainResult result = TrainJob.run(config, spark);
            report(config, common);
            print(config, result, common);
            if (!result.saved()) {
                common.err()
                        .println("fourfold: the last checkpoint could not be written (see the checkpoint_failed event"
                                + " above). Free space in " + result.runFolder()
                                + " or fix its permissions, then run the same command to repeat the steps after "
                                + Math.max(result.checkpointStep(), 0) + ".");
                common.err().flush();
                return ExitCode.UNSAVED;
            }
            return result.stopped() ? ExitCode.STOPPED : ExitCode.OK;
        } catch (RuntimeException e) {
            // What there is of the run helps to find out what went wrong.
            report(config, common);
            throw e;
        } finally {
            stop(spark, running);
            System.setOut(console);
        }
    }

    /** A session that was there before, for example a notebook's, stays. */
    private static void stop(SparkSession spark, boolean keep) {
        if (!keep) {
            spark.stop();
        }
    }

    private static void compare(FourfoldConfig config, SparkSession spark, CommonOptions common) {
        try {
            var folder =
                    RunFolders.open(config.run().dir(), spark.sparkContext().hadoopConfiguration());
            RunContinuation.check(folder, config, common.err());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Writes report.html and loss.png where the run has metrics on this machine; never fails a run. */
    private static void report(FourfoldConfig config, CommonOptions common) {
        Path folder = RunFolders.localPath(config.run().dir()).orElse(null);
        if (folder == null || !Files.exists(folder.resolve("metrics.jsonl"))) {
            return;
        }
        try {
            RunReport.write(folder);
        } catch (IOException | RuntimeException e) {
            common.err().println("fourfold: warning: no report was written: " + FailureReason.of(e));
            common.err().flush();
        }
    }

    private static void print(FourfoldConfig config, TrainResult result, CommonOptions common) {
        if (common.json) {
            common.printJson(result);
            return;
        }
        common.say("%s", summary(result, config.train().steps()));
        common.say("  checkpoint %s", result.checkpoint() == null ? "none could be written" : result.checkpoint());
        RunFolders.localPath(config.run().dir())
                .map(folder -> folder.resolve(RunReport.FILE_NAME))
                .filter(Files::exists)
                .ifPresent(report -> common.say("  report     %s", report));
    }

    /** A loss is left out when it is NaN: no step was left to do, or there is no validation data. */
    static String summary(TrainResult result, int steps) {
        String loss = Double.isNaN(result.loss()) ? "" : String.format(Locale.ROOT, ", loss %.4f", result.loss());
        String validation = Double.isNaN(result.validationLoss())
                ? ""
                : String.format(
                        Locale.ROOT,
                        ", validation loss %.4f (perplexity %.2f)",
                        result.validationLoss(),
                        result.validationPerplexity());
        return String.format(
                Locale.ROOT,
                "%s after step %d of %d: %,d tokens%s%s, %.1f s",
                result.stopped() ? "Stopped" : "Done",
                result.lastStep(),
                steps,
                result.tokens(),
                loss,
                validation,
                result.seconds());
    }
}
