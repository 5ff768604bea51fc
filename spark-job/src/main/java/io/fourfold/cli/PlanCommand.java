package io.fourfold.cli;

import io.fourfold.config.ConfigException;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.Problem;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.plan.ByteSize;
import io.fourfold.plan.MappingDrawing;
import io.fourfold.plan.Plan;
import io.fourfold.plan.PlanJson;
import io.fourfold.plan.PlanText;
import io.fourfold.plan.PreparedTokens;
import io.fourfold.plan.Quantities;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Says what a configuration means, before anything is spent on it. */
@Command(
        name = "plan",
        description = "Print the resolved configuration and what it means: parameters, FLOPs, ranks and groups, memory,"
                + " tokens, traffic. Touches no data and starts no Spark.")
final class PlanCommand implements Callable<Integer> {
    @Mixin
    private ConfigOptions config = new ConfigOptions();

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(names = "--brief", description = "Leave the resolved configuration out; its hash stays.")
    private boolean brief;

    @Option(
            names = "--ranks-per-host",
            paramLabel = "N",
            defaultValue = "8",
            description = "Ranks on one host, to see which groups leave it (default: ${DEFAULT-VALUE}).")
    private int ranksPerHost;

    @Option(
            names = "--memory-per-rank",
            paramLabel = "SIZE",
            description = "Refuse a plan whose fullest rank needs more, for example 80GiB.")
    private @Nullable String memoryPerRank;

    @Option(
            names = "--draw",
            paramLabel = "FILE.svg",
            description = "Also draw the ranks and groups of both grids as SVG.")
    private @Nullable Path drawing;

    @Override
    public Integer call() {
        if (ranksPerHost < 1) {
            throw new UsageException("--ranks-per-host must be at least 1, not " + ranksPerHost);
        }
        ConfigLoader.Loaded loaded = config.load(common.err());
        Plan plan = Plan.of(
                loaded.config(), ranksPerHost, PreparedTokens.of(loaded.config().data()));
        draw(loaded.config());
        PrintWriter out = common.out();
        if (common.json) {
            out.print(PlanJson.text(plan));
        } else {
            if (!brief) {
                out.println("# Resolved configuration; SHA-256 " + plan.configSha256());
                out.print(ResolvedConfig.of(loaded.config()).annotated(loaded.provenance()));
                out.println();
            }
            out.print(PlanText.of(plan));
            out.println("Configuration SHA-256 " + plan.configSha256());
        }
        out.flush();
        checkMemory(plan);
        return ExitCode.OK.number();
    }

    /** Before anything is printed, so that a wrong path is not overlooked above a whole plan. */
    private void draw(FourfoldConfig loaded) {
        if (drawing == null) {
            return;
        }
        String svg = MappingDrawing.svg(loaded, ranksPerHost);
        Path folder = drawing.toAbsolutePath().getParent();
        try {
            if (folder != null) {
                Files.createDirectories(folder);
            }
            Files.writeString(drawing, svg);
        } catch (IOException e) {
            throw new UsageException("--draw: cannot write " + drawing + ": " + FailureReason.of(e));
        }
        common.err().println("drawn: " + drawing);
        common.err().flush();
    }

    private void checkMemory(Plan plan) {
        if (memoryPerRank == null) {
            return;
        }
        long limit;
        try {
            limit = ByteSize.parse(memoryPerRank);
        } catch (IllegalArgumentException e) {
            throw new UsageException("--memory-per-rank: " + e.getMessage());
        }
        if (plan.memory().total() > limit) {
            throw new ConfigException(List.of(Problem.error(
                            "",
                            "",
                            "the fullest rank needs about "
                                    + Quantities.bytes(plan.memory().total()) + ", more than "
                                    + Quantities.bytes(limit),
                            "use more ranks with a higher expert_parallel_size, a smaller micro_batch_size or"
                                    + " sequence_length")
                    .at("--memory-per-rank")));
        }
    }
}
