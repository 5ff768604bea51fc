package io.fourfold.spark;

import io.fourfold.config.FaultSpec;
import io.fourfold.train.TinyRun;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The short version of {@link FaultCampaignTest}: five faults, four ranks as threads of this process. */
class FaultyGangTest {
    private static final int RANKS = 4;
    private static final int STEPS = 12;
    private static SparkSession spark;

    @TempDir
    Path folder;

    @BeforeAll
    static void start() {
        spark = SparkSessions.open("faults", RANKS);
    }

    @AfterAll
    static void stop() {
        spark.stop();
    }

    @Test
    void fiveFaultsLoseNothing() throws Exception {
        FaultCampaign campaign = FaultCampaign.random(
                7,
                List.of(
                        FaultSpec.Kind.CRASH,
                        FaultSpec.Kind.HANG,
                        FaultSpec.Kind.NON_FINITE,
                        FaultSpec.Kind.TRUNCATED_SHARD,
                        FaultSpec.Kind.FULL_DISK),
                RANKS,
                STEPS,
                4);
        train("undisturbed", Map.of());
        train("disturbed", Map.of("run.faults", campaign.setting()));
        campaign.check(folder.resolve("disturbed"), folder.resolve("reads-disturbed"), folder.resolve("undisturbed"));
    }

    private void train(String name, Map<String, String> more) {
        Map<String, String> settings = new TreeMap<>(more);
        settings.put("parallel.world_size", Integer.toString(RANKS));
        settings.put("train.steps", Integer.toString(STEPS));
        settings.put("run.dir", folder.resolve(name).toString());
        settings.put("run.backend", "cpu");
        settings.put("run.checkpoint.every", "2");
        settings.put("run.timeouts.step_seconds", "2");
        settings.put("run.restart.backoff_seconds", "0.1");
        settings.put("run.restart.on_non_finite", "restart");
        String reads = folder.resolve("reads-" + name).toString();
        TrainJob.run(TinyRun.tinyConfig(settings), spark, "tokenizer", new RecordingSetup(reads));
    }
}
