package io.fourfold.cli;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.Problem;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Option;

/** The configuration of a command: layers and overrides. */
final class ConfigOptions {
    @Option(
            names = "--config",
            paramLabel = "FILE",
            description = "YAML layer; repeatable, later ones override earlier ones key by key.")
    private List<Path> files = List.of();

    @Option(
            names = "--set",
            paramLabel = "KEY=VALUE",
            description = "Override one setting, for example train.steps=200; repeatable, over all files.")
    private List<String> sets = List.of();

    /**
     * Loads and prints warnings.
     *
     * @throws io.fourfold.config.ConfigException with all problems
     */
    ConfigLoader.Loaded load(PrintWriter err) {
        if (files.isEmpty() && sets.isEmpty()) {
            throw new UsageException(
                    "no configuration given: add --config FILE, for example --config conf/run/quickstart.yaml");
        }
        ConfigLoader.Loaded loaded = ConfigLoader.load(files, sets);
        for (Problem warning : loaded.warnings()) {
            err.println("fourfold: warning: " + warning);
        }
        err.flush();
        return loaded;
    }
}
