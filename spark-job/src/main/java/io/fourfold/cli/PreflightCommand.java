package io.fourfold.cli;

import io.fourfold.config.ConfigLoader;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Says what would keep training from starting. */
@Command(
        name = "preflight",
        description = "Check on driver and executors what training needs: slots and who holds them, Spark's settings,"
                + " GPUs, Java options, run folder, prepared shards, tokenizer. Names all problems at once and trains"
                + " nothing; 'train' makes the same checks.")
final class PreflightCommand implements Callable<Integer> {
    @Mixin
    private ConfigOptions config = new ConfigOptions();

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Override
    public Integer call() {
        ConfigLoader.Loaded layers = config.load(common.err());
        LaunchCheck.check(layers, common.err());
        return SparkCommands.preflight(layers.config(), common).number();
    }
}
