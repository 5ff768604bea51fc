package io.fourfold.cli;

import io.fourfold.config.FourfoldConfig;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Turns raw text into token shards. */
@Command(
        name = "prepare",
        description =
                "Turn raw text into token shards: normalise, drop duplicates, split, tokenize, pack (a Spark job)."
                        + " Run again after a stop, it does only the rest.")
final class PrepareCommand implements Callable<Integer> {
    @Mixin
    private ConfigOptions config = new ConfigOptions();

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(names = "--dry-run", description = "Say what would be done, and write nothing.")
    private boolean dryRun;

    @Override
    public Integer call() {
        FourfoldConfig loaded = config.load(common.err()).config();
        if (loaded.data().sources().isEmpty()) {
            throw new UsageException("data.sources is empty: name the raw text, for example with --config"
                    + " conf/data/sample.yaml or --set 'data.sources={books: [corpus/*.jsonl.zst]}'");
        }
        return SparkCommands.prepare(loaded, dryRun, common).number();
    }
}
