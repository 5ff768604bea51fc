package io.fourfold.cli;

import io.fourfold.config.ModelConfig;
import io.fourfold.hf.ExportJob;
import io.fourfold.hf.ExportOptions;
import io.fourfold.hf.ExportReport;
import io.fourfold.hf.SafetensorsType;
import io.fourfold.plan.ByteSize;
import io.fourfold.plan.Quantities;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Writes a trained model as a Hugging Face folder. */
@Command(
        name = "export",
        description = "Write a trained model as a Hugging Face folder (safetensors, config.json, tokenizer).")
final class ExportCommand implements Callable<Integer> {
    @Mixin
    private RunOptions run = new RunOptions();

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(names = "--to", paramLabel = "DIR", required = true, description = "Folder to write.")
    private Path to = Path.of("");

    @Option(
            names = "--type",
            paramLabel = "TYPE",
            defaultValue = "bf16",
            description = "Element type: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    private SafetensorsType type = SafetensorsType.BF16;

    @Option(
            names = "--family",
            paramLabel = "FAMILY",
            description = "Model class instead of the configuration's: mixtral, qwen2_moe, qwen3_moe.")
    private ModelConfig.@Nullable HfFamily family;

    @Option(names = "--max-shard-size", paramLabel = "SIZE", description = "Largest file (default: 5GB).")
    private @Nullable String maxShardSize;

    @Option(
            names = "--tokenizer",
            paramLabel = "PATH",
            description = "tokenizer.json or folder to put beside the weights (default: the run's own).")
    private @Nullable Path tokenizer;

    @Option(names = "--dry-run", description = "Check that it can be exported, and write nothing.")
    private boolean dryRun;

    @Override
    public Integer call() {
        ExportJob.Options options = new ExportJob.Options(run.step(), family, type, maxShardBytes(), tokenizer);
        if (dryRun) {
            return check(options);
        }
        ExportReport report = ExportJob.run(run.storage(), to, options);
        if (common.json) {
            common.printJson(report);
        } else {
            common.say(
                    "Exported %s, %s parameters (%s, %s) to %s",
                    report.architecture(),
                    Quantities.count(report.parameters()),
                    Quantities.bytes(report.bytes()),
                    type.name().toLowerCase(Locale.ROOT),
                    report.folder());
            common.say("  files: %s", String.join(", ", report.files()));
            report.notes().forEach(note -> common.say("  note: %s", note));
        }
        return ExitCode.OK.number();
    }

    private int check(ExportJob.Options options) {
        ModelConfig model = ExportJob.check(run.storage(), options);
        if (common.json) {
            common.printJson(model);
        } else {
            common.say("Would export %s as %s to %s; nothing was written", model.name(), model.family(), to);
        }
        return ExitCode.OK.number();
    }

    private long maxShardBytes() {
        if (maxShardSize == null) {
            return ExportOptions.DEFAULT_SHARD_BYTES;
        }
        try {
            return ByteSize.parse(maxShardSize);
        } catch (IllegalArgumentException e) {
            throw new UsageException("--max-shard-size: " + e.getMessage());
        }
    }
}
