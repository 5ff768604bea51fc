package io.fourfold.cli;

import io.fourfold.config.ConfigReference;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Prints docs/configuration.md. */
@Command(
        name = "config-reference",
        description = "Print every setting with its meaning, type and default (docs/configuration.md).")
final class ConfigReferenceCommand implements Callable<Integer> {
    @Mixin
    private CommonOptions common = new CommonOptions();

    @Override
    public Integer call() {
        if (common.json) {
            common.printJson(ConfigReference.settings());
        } else {
            common.out().print(ConfigReference.markdown());
            common.out().flush();
        }
        return ExitCode.OK.number();
    }
}
