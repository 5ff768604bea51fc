package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.FaultSpec;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Gangs of four executor processes that lose one. */
@Tag("slow")
class RestartClusterTest {
    private static final String CLUSTER = "local-cluster[4,1,512]";
    private static final long LIMIT_SECONDS = 240;

    @TempDir
    Path folder;

    @Test
    void aKilledExecutorAndAHungRankAreOvercomeInTime() throws Exception {
        DriverProcess threads = process("threads", "local[4]");
        assertThat(threads.start(settings(), LIMIT_SECONDS)).as(threads::errors).isZero();
        DriverProcess cluster = process("cluster", CLUSTER);
        FaultSpec crash = FaultSpec.parse("crash rank=2 step=5");
        FaultSpec hang = FaultSpec.parse("hang rank=1 step=9");
        Map<String, String> settings = settings();
        settings.put("run.faults", "[" + crash.text() + ", " + hang.text() + "]");
        assertThat(cluster.start(settings, LIMIT_SECONDS)).as(cluster::errors).isZero();

        double recovery = FaultTimes.toNextStep(cluster.run(), crash);
        double process = seconds(time(cluster, "removed", 1), time(cluster, "added", 5));
        double detection = FaultTimes.toEvent(cluster.run(), hang, "failed");
        double again = FaultTimes.toNextStep(cluster.run(), hang);
        System.out.printf(
                Locale.ROOT,
                "killed executor: training again after %.1f s, %.1f s of it to start a process;"
                        + " hung rank: detected after %.1f s (limit 4 s), training again after %.1f s%n",
                recovery,
                process,
                detection,
                again);
        assertThat(recovery).isLessThan(30);
        assertThat(recovery - process).isLessThan(10);
        // The watchdog looks every 0.4 s.
        assertThat(detection).isLessThan(4.5);
        assertThat(result(cluster)).isEqualTo(result(threads));
    }

    @Test
    void fewerRanksGoOnWithTheSameBatchesWhenAnExecutorStaysAway() throws Exception {
        DriverProcess threads = process("threads", "local[4]");
        assertThat(threads.start(settings(), LIMIT_SECONDS)).as(threads::errors).isZero();
        // Three slots for four ranks are there only while the fourth executor lives: threads cannot come back.
        DriverProcess cluster = process("cluster", CLUSTER);
        Map<String, String> settings = settings();
        settings.put("run.faults", "[crash rank=3 step=5]");
        settings.put("run.restart.min_world_size", "2");
        settings.put("run.restart.wait_seconds", "0");
        settings.put("run.restart.backoff_seconds", "0");
        assertThat(cluster.start(settings, LIMIT_SECONDS)).as(cluster::errors).isZero();
        assertThat(cluster.errors()).contains("continues with 2 ranks, the global batch stays the same");
        assertThat(ReadLog.samplesByStep(cluster.reads(), 4))
                .hasSize(12)
                .allSatisfy(samples -> assertThat(samples).hasSize(4).doesNotHaveDuplicates());
        double loss = Double.parseDouble(result(cluster).split(" ", -1)[2]);
        assertThat(loss).isEqualTo(Double.parseDouble(result(threads).split(" ", -1)[2]), within(1e-5));
    }

    @Test
    void aHostThatFailsIsLeftOut() throws Exception {
        DriverProcess threads = process("threads", "local[4]");
        Map<String, String> settings = settings();
        settings.put("parallel.world_size", "2");
        assertThat(threads.start(settings, LIMIT_SECONDS)).as(threads::errors).isZero();
        Path work = Files.createDirectory(folder.resolve("standalone"));
        try (StandaloneCluster three = StandaloneCluster.start(work, List.of("127.0.0.1", "127.0.0.2", "127.0.0.3"))) {
            DriverProcess cluster = new DriverProcess(work, three.master());
            settings.put("run.faults", "[crash rank=1 step=5]");
            settings.put("run.restart.exclude_host_after", "1");
            assertThat(cluster.start(settings, LIMIT_SECONDS))
                    .as(cluster::errors)
                    .isZero();
            assertThat(cluster.errors())
                    .containsPattern("restart 1 of 10 .*; leaves out host 127.0.0.[123]; continues");
            assertThat(result(cluster)).isEqualTo(result(threads));
        }
    }

    private DriverProcess process(String name, String master) throws Exception {
        return new DriverProcess(Files.createDirectory(folder.resolve(name)), master);
    }

    private static String result(DriverProcess process) throws Exception {
        return process.lines().stream()
                .filter(line -> line.startsWith("result "))
                .findFirst()
                .orElseThrow();
    }

    /** Time of the n-th line of this kind, from 1. */
    private static Instant time(DriverProcess process, String kind, int n) throws Exception {
        List<String> lines = process.lines().stream()
                .filter(line -> line.startsWith(kind + " "))
                .toList();
        return Instant.parse(lines.get(n - 1).split(" ", -1)[1]);
    }

    private static double seconds(Instant from, Instant to) {
        return Duration.between(from, to).toMillis() * 1e-3;
    }

    private static Map<String, String> settings() {
        return new TreeMap<>(Map.of(
                "parallel.world_size", "4",
                "train.steps", "12",
                "run.checkpoint.every", "2",
                "run.timeouts.step_seconds", "4",
                "run.restart.backoff_seconds", "0.2"));
    }
}
