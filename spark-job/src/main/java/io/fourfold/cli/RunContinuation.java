package io.fourfold.cli;

import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.ConfigDifference;
import io.fourfold.config.ConfigException;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.Problem;
import io.fourfold.config.ResolvedConfig;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Compares a configuration with the one that the run folder's checkpoints were made with. */
final class RunContinuation {
    private RunContinuation() {}

    /**
     * Passes when the folder has no checkpoint to continue from or the configurations agree in all that decides the loss;
     * prints the harmless differences and warns of a checkpoint after the last step.
     *
     * @throws ConfigException naming every difference that would make it another run
     */
    static void check(RunStorage folder, FourfoldConfig config, PrintWriter err) {
        try {
            boolean continues = config.run().checkpoint().resume() && folder.exists(TrainedRun.CONFIG);
            List<Integer> steps = continues ? new CheckpointStore(folder).steps() : List.of();
            if (!steps.isEmpty()) {
                String yaml = new String(folder.readAll(TrainedRun.CONFIG), StandardCharsets.UTF_8);
                String name = folder.location() + "/" + TrainedRun.CONFIG;
                compare(name, ConfigLoader.parse(name, yaml).config(), config, err);
                warnIfDone(steps.get(steps.size() - 1), config.train().steps(), err);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void warnIfDone(int checkpoint, int steps, PrintWriter err) {
        if (steps < checkpoint) {
            err.println("fourfold: warning: the checkpoint is at step " + checkpoint + ", beyond train.steps = " + steps
                    + ": there is nothing left to train");
            err.flush();
        }
    }

    private static void compare(String name, FourfoldConfig before, FourfoldConfig now, PrintWriter err) {
        List<Problem> problems = new ArrayList<>();
        for (ConfigDifference difference : ConfigDifference.between(before, now)) {
            if (difference.allowed()) {
                err.println("fourfold: continuing with another " + difference);
            } else {
                String old = difference.before() == null ? "not set" : difference.before();
                problems.add(Problem.error(
                                difference.key(),
                                difference.after(),
                                "the run was started with " + old,
                                "restore it, or set another run.dir for a new run")
                        .at(name));
            }
        }
        err.flush();
        if (!problems.isEmpty()) {
            problems.add(Problem.error(
                            "",
                            "",
                            String.format(
                                    "this would be another run (configuration %.12s, checkpoints of %.12s)",
                                    ResolvedConfig.of(now).sha256(),
                                    ResolvedConfig.of(before).sha256()),
                            "nothing was changed; 'fourfold inspect' lists the checkpoints")
                    .at(name));
            throw new ConfigException(problems);
        }
    }
}
