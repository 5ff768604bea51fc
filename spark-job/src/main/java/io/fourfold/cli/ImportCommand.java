package io.fourfold.cli;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.hf.HfImporter;
import io.fourfold.hf.HfModel;
import io.fourfold.hf.ImportJob;
import io.fourfold.hf.ImportReport;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.plan.ParameterCount;
import io.fourfold.plan.Quantities;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Turns a Hugging Face folder into a run folder to train from. */
@Command(
        name = "import",
        description =
                "Turn a Hugging Face folder (Mixtral, Qwen2-MoE, Qwen3-MoE) into a run folder that training starts"
                        + " from.")
final class ImportCommand implements Callable<Integer> {
    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(
            names = "--from",
            paramLabel = "DIR",
            required = true,
            description = "Folder with config.json and safetensors.")
    private Path from = Path.of("");

    @Option(
            names = "--run",
            paramLabel = "DIR",
            required = true,
            description = "Run folder to make; must have no checkpoints.")
    private Path run = Path.of("");

    @Option(names = "--dry-run", description = "Read and check the folder, and write nothing.")
    private boolean dryRun;

    @Override
    public Integer call() {
        if (dryRun) {
            try (HfModel model = HfImporter.open(from)) {
                if (common.json) {
                    common.printJson(model.config());
                } else {
                    common.say(
                            "%s holds %s, %s parameters; nothing was written",
                            from,
                            model.config().name(),
                            Quantities.count(ParameterCount.of(model.config()).total()));
                }
            }
            return ExitCode.OK.number();
        }
        try (Backend backend = new CpuBackend(1)) {
            ImportReport report = ImportJob.run(from, new LocalRunStorage(run), backend, VersionProvider.current());
            if (common.json) {
                common.printJson(report);
            } else {
                common.say(
                        "Imported %s, %s parameters, as %s",
                        report.model().name(), Quantities.count(report.parameters()), report.checkpoint());
                common.say(
                        "Train from it: fourfold train --config %s --config ... --set run.dir=%s",
                        run.resolve(report.modelFile()), run);
            }
        }
        return ExitCode.OK.number();
    }
}
