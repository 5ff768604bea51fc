package io.fourfold.cli;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.config.ConfigException;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.plan.Preflight;
import io.fourfold.spark.RunFolders;
import java.io.PrintWriter;

/** What {@code train} refuses before Spark starts, so that a mistake shows at once; {@code preflight} reports the same. */
final class LaunchCheck {
    private LaunchCheck() {}

    /**
     * Passes when nothing but Spark, data and devices remains to be checked.
     *
     * @param err gets the harmless differences from the run that would be continued
     * @throws ConfigException with what this version cannot train, with the memory that is missing where all ranks are
     *     threads of this process, or with what makes it another run than the one in a local run folder
     */
    static void check(ConfigLoader.Loaded layers, PrintWriter err) {
        FourfoldConfig config = layers.config();
        try {
            check(config);
        } catch (ConfigException e) {
            throw layers.located(e);
        }
        RunFolders.localPath(config.run().dir())
                .ifPresent(folder -> RunContinuation.check(new LocalRunStorage(folder), config, err));
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
