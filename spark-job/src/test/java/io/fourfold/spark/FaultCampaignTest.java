package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FaultSpec;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Fifty random faults in one run of four executor processes. Its table is in docs/reliability.md. */
@Tag("slow")
class FaultCampaignTest {
    private static final long SEED = 50;
    private static final int RANKS = 4;
    private static final int STEPS = 200;
    private static final long LIMIT_SECONDS = 1800;

    @TempDir
    Path folder;

    @Test
    void fiftyFaultsLoseNothing() throws Exception {
        FaultCampaign campaign = FaultCampaign.random(SEED, kinds(), RANKS, STEPS, 4);
        DriverProcess threads = new DriverProcess(Files.createDirectory(folder.resolve("threads")), "local[4]");
        assertThat(threads.start(settings(), LIMIT_SECONDS)).as(threads::errors).isZero();

        DriverProcess cluster =
                new DriverProcess(Files.createDirectory(folder.resolve("cluster")), "local-cluster[4,1,512]");
        Map<String, String> disturbed = settings();
        disturbed.put("run.faults", campaign.setting());
        int driverRestarts = Collections.frequency(kinds(), FaultSpec.Kind.DRIVER_RESTART);
        for (int i = 0; i < driverRestarts; i++) {
            assertThat(cluster.start(disturbed, LIMIT_SECONDS))
                    .as(cluster::errors)
                    .isEqualTo(DriverFault.STATUS);
        }
        assertThat(cluster.start(disturbed, LIMIT_SECONDS)).as(cluster::errors).isZero();
        campaign.report(cluster.run(), Path.of("target", "fault-campaign.md"));
        campaign.check(cluster.run(), cluster.reads(), threads.run());
    }

    /** In a random order. */
    private static List<FaultSpec.Kind> kinds() {
        List<FaultSpec.Kind> kinds = new ArrayList<>();
        kinds.addAll(Collections.nCopies(14, FaultSpec.Kind.CRASH));
        kinds.addAll(Collections.nCopies(7, FaultSpec.Kind.HANG));
        kinds.addAll(Collections.nCopies(7, FaultSpec.Kind.SLOW));
        kinds.addAll(Collections.nCopies(7, FaultSpec.Kind.NON_FINITE));
        kinds.addAll(Collections.nCopies(6, FaultSpec.Kind.TRUNCATED_SHARD));
        kinds.addAll(Collections.nCopies(6, FaultSpec.Kind.FULL_DISK));
        kinds.addAll(Collections.nCopies(3, FaultSpec.Kind.DRIVER_RESTART));
        Collections.shuffle(kinds, new Random(SEED));
        return kinds;
    }

    private static Map<String, String> settings() {
        return new TreeMap<>(Map.of(
                "parallel.world_size", Integer.toString(RANKS),
                "train.steps", Integer.toString(STEPS),
                "run.checkpoint.every", "3",
                "run.checkpoint.keep_last", "1000",
                "run.timeouts.step_seconds", "4",
                "run.restart.max_restarts", "100",
                "run.restart.backoff_seconds", "0.2",
                "run.restart.on_non_finite", "restart"));
    }
}
