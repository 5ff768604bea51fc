package io.fourfold.cli;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Which trained model a command works on. */
final class RunOptions {
    @Option(
            names = "--run",
            paramLabel = "DIR",
            required = true,
            description = "Run folder, as made by 'fourfold train' or 'fourfold import'.")
    private Path run = Path.of("");

    @Option(names = "--step", paramLabel = "N", description = "Checkpoint of this step (default: the newest).")
    private @Nullable Integer step;

    @Option(
            names = "--set",
            paramLabel = "KEY=VALUE",
            description = "Override a setting of the run's configuration, for example data.prepared=DIR; repeatable.")
    private List<String> sets = List.of();

    Path folder() {
        return run;
    }

    @Nullable
    Integer step() {
        return step;
    }

    LocalRunStorage storage() {
        if (!Files.isDirectory(run)) {
            throw new CheckpointException(
                    "there is no run folder " + run + ". Train first ('fourfold train'), or give the folder of a run");
        }
        return new LocalRunStorage(run);
    }

    /** The run with its overrides; the model section cannot change. */
    TrainedRun open() {
        TrainedRun opened = TrainedRun.open(storage(), step);
        if (sets.isEmpty()) {
            return opened;
        }
        try {
            Path resolved = run.resolve(TrainedRun.CONFIG);
            Path layer = Files.exists(resolved) ? resolved : run.resolve(TrainedRun.MODEL);
            FourfoldConfig config = ConfigLoader.load(List.of(layer), sets).config();
            if (!config.model().equals(opened.config().model())) {
                throw new UsageException("--set cannot change the model of a trained run");
            }
            return new TrainedRun(config, opened.checkpoint());
        } catch (RuntimeException e) {
            opened.close();
            throw e;
        }
    }
}
