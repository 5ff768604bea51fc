package io.fourfold.cli;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.TrainedRun;
import java.nio.file.Files;
import java.nio.file.Path;
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

    Path folder() {
        return run;
    }

    @Nullable Integer step() {
        return step;
    }

    LocalRunStorage storage() {
        if (!Files.isDirectory(run)) {
            throw new CheckpointException("there is no run folder " + run
                    + ". Train first ('fourfold train'), or give the folder of a run");
        }
        return new LocalRunStorage(run);
    }

    TrainedRun open() {
        return TrainedRun.open(storage(), step);
    }
}
