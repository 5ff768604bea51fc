package io.fourfold.cli;

import io.fourfold.checkpoint.CheckpointContents;
import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.CheckpointSummary;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.config.ModelConfig;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.hf.HfImporter;
import io.fourfold.hf.HfModel;
import io.fourfold.plan.ParameterCount;
import io.fourfold.plan.Quantities;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Says what is in a folder that Fourfold made or can read. */
@Command(
        name = "inspect",
        description = "Describe a run folder and its checkpoints, a folder of prepared data, or a Hugging Face folder.")
final class InspectCommand implements Callable<Integer> {
    private static final String CHECKPOINTS = "checkpoints";
    private static final String MANIFEST = "manifest.json";

    @Parameters(paramLabel = "PATH", description = "Run folder, checkpoint, prepared data or Hugging Face folder.")
    private Path path = Path.of("");

    @Option(names = "--verify", description = "Read all checkpoint data and compare it with its hashes.")
    private boolean verify;

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Override
    public Integer call() throws IOException {
        if (!Files.isDirectory(path)) {
            throw new UsageException("there is no folder " + path + ": give a run folder, a checkpoint, a folder of"
                    + " prepared data or a Hugging Face folder");
        }
        if (Files.isDirectory(path.resolve(CHECKPOINTS))) {
            return checkpoints(new CheckpointStore(new LocalRunStorage(path)).summaries(verify));
        }
        if (Files.isRegularFile(path.resolve("config.json"))) {
            return huggingFace();
        }
        Path parent = path.toAbsolutePath().normalize().getParent();
        if (parent != null && parent.endsWith(CHECKPOINTS) && Files.exists(path.resolve("COMMIT"))) {
            return oneCheckpoint(parent);
        }
        List<Path> splits = preparedSplits();
        if (!splits.isEmpty()) {
            return prepared(splits.stream().map(ManifestFile::read).toList());
        }
        throw new UsageException(path + " is none of: a run folder (has checkpoints/), a checkpoint (step-*/COMMIT"
                + " in checkpoints/), prepared data (*/train/manifest.json), a Hugging Face folder (config.json)");
    }

    private int checkpoints(List<CheckpointSummary> summaries) {
        if (summaries.isEmpty()) {
            throw new CheckpointException(path + " has no complete checkpoint: the run was stopped before its first"
                    + " save; run 'fourfold train' again");
        }
        if (common.json) {
            common.printJson(summaries);
        } else {
            common.say("%-6s %-12s %-12s %5s %-9s %s", "step", "parameters", "size", "files", "optimizer", "made by");
            for (CheckpointSummary summary : summaries) {
                common.say("%s", line(summary));
            }
        }
        boolean unusable = summaries.stream().anyMatch(s -> s.problem() != null);
        return (unusable ? ExitCode.CHECKPOINT : ExitCode.OK).number();
    }

    private static String line(CheckpointSummary summary) {
        var identity = summary.identity();
        if (identity == null) {
            return String.format(Locale.ROOT, "%-6d UNUSABLE: %s", summary.step(), summary.problem());
        }
        return String.format(
                Locale.ROOT,
                "%-6d %-12s %-12s %5d %-9s version %s, config %.12s, %s",
                summary.step(),
                Quantities.count(summary.parameters()),
                Quantities.bytes(summary.bytes()),
                summary.files(),
                summary.optimizer() ? "yes" : "no",
                identity.codeVersion(),
                identity.configHash().isEmpty() ? "-" : identity.configHash(),
                identity.created());
    }

    private int oneCheckpoint(Path checkpoints) {
        Path run = checkpoints.getParent();
        String name = String.valueOf(path.toAbsolutePath().normalize().getFileName());
        if (run == null || !name.matches("step-\\d+")) {
            throw new UsageException(path + " is no checkpoint folder");
        }
        int step = Integer.parseInt(name.substring("step-".length()));
        CheckpointContents contents = new CheckpointStore(new LocalRunStorage(run)).contents(step, verify);
        if (common.json) {
            common.printJson(contents);
        } else {
            CheckpointText.lines(contents).forEach(line -> common.say("%s", line));
        }
        boolean damaged =
                contents.files().stream().anyMatch(file -> !file.problem().isEmpty());
        return (damaged ? ExitCode.CHECKPOINT : ExitCode.OK).number();
    }

    private int huggingFace() {
        try (HfModel model = HfImporter.open(path)) {
            ModelConfig config = model.config();
            if (common.json) {
                common.printJson(config);
            } else {
                ParameterCount count = ParameterCount.of(config);
                common.say(
                        "%s: %s, %d blocks, hidden %d, vocabulary %d, %s parameters (%s active), %d tensors",
                        path,
                        config.family().name().toLowerCase(Locale.ROOT),
                        config.layers(),
                        config.hiddenSize(),
                        config.vocabSize(),
                        Quantities.count(count.total()),
                        Quantities.count(count.active()),
                        model.tensors().names().size());
            }
        }
        return ExitCode.OK.number();
    }

    /** Split folders at, one or two levels below the path. */
    private List<Path> preparedSplits() throws IOException {
        try (Stream<Path> files = Files.walk(path, 3)) {
            return files.filter(f -> f.endsWith(MANIFEST))
                    .map(f -> f.toAbsolutePath().getParent())
                    .filter(f -> f != null && (f.endsWith(Manifest.TRAIN) || f.endsWith(Manifest.VALIDATION)))
                    .sorted()
                    .toList();
        }
    }

    private int prepared(List<Manifest> manifests) {
        if (common.json) {
            common.printJson(manifests);
            return ExitCode.OK.number();
        }
        common.say("%-16s %-11s %12s %12s %7s  %s", "data set", "split", "documents", "tokens", "shards", "tokenizer");
        for (Manifest manifest : manifests) {
            common.say(
                    "%-16s %-11s %,12d %,12d %7d  %s",
                    manifest.dataSet(),
                    manifest.split(),
                    manifest.documents(),
                    manifest.tokens(),
                    manifest.shards().size(),
                    manifest.tokenizer().description());
        }
        return ExitCode.OK.number();
    }
}
