package io.fourfold.cli;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.plan.Plan;
import io.fourfold.plan.PlanJson;
import io.fourfold.plan.PlanText;
import io.fourfold.plan.PreparedTokens;
import io.fourfold.spark.RunFolders;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Trains, or continues a run. */
@Command(
        name = "train",
        description = "Train as one gang of Spark barrier tasks, or continue the run that is in run.dir. Create a file"
                + " named STOP there to stop after the current step.")
final class TrainCommand implements Callable<Integer> {
    @Mixin
    private ConfigOptions config = new ConfigOptions();

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(
            names = "--dry-run",
            description = "Check everything that can be checked and print the plan; train nothing.")
    private boolean dryRun;

    @Option(
            names = "--ui",
            description = "Show the run in Spark's web UI (tab Fourfold) when everything runs in this process; on a"
                    + " cluster Spark shows it anyway.")
    private boolean ui;

    @Override
    public Integer call() {
        ConfigLoader.Loaded layers = config.load(common.err());
        FourfoldConfig loaded = layers.config();
        LaunchCheck.check(layers, common.err());
        if (dryRun) {
            Plan plan = Plan.of(loaded, Plan.DEFAULT_RANKS_PER_HOST, PreparedTokens.of(loaded.data()));
            common.out().print(common.json ? PlanJson.text(plan) : PlanText.of(plan));
            common.out().flush();
            return ExitCode.OK.number();
        }
        return SparkCommands.train(
                        loaded, RunFolders.localPath(loaded.run().dir()).isPresent(), ui, common)
                .number();
    }
}
