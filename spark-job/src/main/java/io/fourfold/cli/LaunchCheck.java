package io.fourfold.cli;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.config.ConfigException;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.Problem;
import io.fourfold.plan.Preflight;
import io.fourfold.spark.RunFolders;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** What {@code train} refuses before Spark starts, so that a mistake shows at once; {@code preflight} reports the same. */
final class LaunchCheck {
    private LaunchCheck() {}

    /**
     * Passes when nothing but Spark, data and devices remains to be checked.
     *
     * @param err gets the harmless differences from the run that would be continued
     * @throws ConfigException with what this version cannot train, with the memory that is missing where all ranks are
     *     threads of this process, with a local run folder that cannot be one, or with what makes it another run than the
     *     one that is there
     */
    static void check(ConfigLoader.Loaded layers, PrintWriter err) {
        FourfoldConfig config = layers.config();
        Optional<Path> local = RunFolders.localPath(config.run().dir());
        List<Problem> problems = new ArrayList<>();
        try {
            check(config);
        } catch (ConfigException e) {
            problems.addAll(e.problems());
        }
        local.ifPresent(folder -> checkFolder(folder, config, problems));
        if (!problems.isEmpty()) {
            throw layers.located(new ConfigException(problems));
        }
        local.ifPresent(folder -> RunContinuation.check(new LocalRunStorage(folder), config, err));
    }

    /** The folder, or the nearest one above it, in which it would be made. */
    private static void checkFolder(Path folder, FourfoldConfig config, List<Problem> problems) {
        Path there = folder.toAbsolutePath().normalize();
        while (!Files.exists(there) && there.getParent() != null) {
            there = there.getParent();
        }
        @Nullable String rule = null;
        if (!Files.isDirectory(there)) {
            rule = there + " is a file, not a folder";
        } else if (!Files.isWritable(there)) {
            rule = "cannot write into " + there;
        }
        if (rule != null) {
            problems.add(
                    Problem.error("run.dir", config.run().dir(), rule, "set run.dir to a folder you can write to"));
        }
    }

    private static void check(FourfoldConfig config) {
        if (runsInThisProcess()) {
            Preflight.check(
                    config, config.parallel().worldSize(), Runtime.getRuntime().maxMemory());
        } else {
            Preflight.check(config);
        }
    }

    /** True when spark-submit has not set another master. */
    private static boolean runsInThisProcess() {
        String master = System.getProperty("spark.master", "local");
        return master.equals("local") || master.startsWith("local[");
    }
}
