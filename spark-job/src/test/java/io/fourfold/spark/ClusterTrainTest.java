package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.RankBeat;
import io.fourfold.metrics.RunHistory;
import java.io.File;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A gang of two executor JVMs on a cluster of one machine: a master and two workers that Spark starts. */
@Tag("slow")
class ClusterTrainTest {
    private static final String CLUSTER = "local-cluster[2,1,1024]";

    @TempDir
    Path folder;

    @Test
    void twoExecutorsGiveTheLossOfTwoThreads() throws Exception {
        List<String> threads = drive("local[2]", -1);
        List<String> executors = drive(CLUSTER, -1);
        assertThat(threads).hasSize(3).first().isEqualTo("steps 6");
        assertThat(executors).isEqualTo(threads);
        assertThat(executorLogs()).hasSize(2);
        // Both came to the driver from other processes, which wrote them down.
        RunHistory run = MetricsReader.read(folder.resolve("executors/run"));
        assertThat(run.steps()).hasSize(6);
        assertThat(run.ranks()).extracting(RankBeat::executor).containsExactlyInAnyOrder("0", "1");
    }

    @Test
    void pipelineStagesInTwoExecutorsGiveTheLossOfTwoThreads() throws Exception {
        List<String> threads = drive(ClusterDriver.class, "local[2]", List.of(), "2", "-1", "2");
        List<String> executors = drive(ClusterDriver.class, CLUSTER, List.of(), "2", "-1", "2");
        assertThat(threads).hasSize(3).first().isEqualTo("steps 6");
        assertThat(executors).isEqualTo(threads);
    }

    @Test
    void aFailureInOneExecutorIsTheCauseOnTheDriver() throws Exception {
        assertThat(drive(CLUSTER, 2))
                .singleElement()
                .asString()
                .contains("rank 1 on ", "shard 7 is corrupt", "rank 0 stopped as a consequence");
        try (var files = Files.walk(folder.resolve("executors/run/failures"))) {
            List<Path> traces = files.filter(Files::isRegularFile).sorted().toList();
            assertThat(traces)
                    .extracting(file -> file.getFileName().toString())
                    .containsExactly("rank-00000.txt", "rank-00001.txt");
            assertThat(traces.get(0)).content().contains("shard 7 is corrupt", "allReduce(SUM, FP32[", "not finished");
        }
    }

    @Test
    void everyRankGetsAGpuOfItsOwn() throws Exception {
        assertThat(drive(LaunchDriver.class, CLUSTER, fakeGpus(), "isolated")).containsExactly("steps 6");
    }

    @Test
    void executorsOfOneWorkerGetDifferentGpus() throws Exception {
        List<String> settings = new ArrayList<>(fakeGpus(2));
        settings.add("-Dspark.executor.cores=1");
        assertThat(drive(LaunchDriver.class, "local-cluster[1,2,2048]", settings, "shared"))
                .containsExactly("steps 6");
    }

    @Test
    void twoRanksOnOneGpuAreNamed() throws Exception {
        assertThat(drive(LaunchDriver.class, CLUSTER, fakeGpus(), "shared"))
                .singleElement()
                .asString()
                .contains("two ranks have the same GPU GPU-0: rank 0 on ", "and rank 1 on ", "YARN", "device 0");
    }

    @Test
    void executorsWithoutGpusAreSaidBeforeTheStart() throws Exception {
        assertThat(drive(LaunchDriver.class, CLUSTER, List.of(), "isolated"))
                .singleElement()
                .asString()
                .contains("TRAIN_LAUNCH", "spark.executor.resource.gpu.amount is not set");
    }

    @Test
    void aRankThatIgnoresInterruptsIsNamedAndItsExecutorEnded() throws Exception {
        long start = System.nanoTime();
        assertThat(drive(
                        LaunchDriver.class,
                        CLUSTER,
                        List.of("-Dspark.task.reaper.killTimeout=2s", "-Dspark.task.reaper.pollingInterval=1s"),
                        "stubborn"))
                .singleElement()
                .asString()
                .contains("rank 1", "in no operation for ", "have not ended 10 s later");
        assertThat(System.nanoTime() - start).isLessThan(60_000_000_000L);
        assertThat(folder.resolve("executors/run/failures/stubborn/rank-00001.txt"))
                .content()
                .contains("waitForADiskThatIsGone");
    }

    /** Each worker finds one GPU, at the same address. */
    private List<String> fakeGpus() throws IOException {
        return fakeGpus(1);
    }

    /** Each worker finds so many GPUs. */
    private List<String> fakeGpus(int count) throws IOException {
        Path script = folder.resolve("discover");
        String addresses =
                IntStream.range(0, count).mapToObj(i -> "\"" + i + "\"").collect(Collectors.joining(","));
        Files.writeString(script, "#!/bin/sh\necho '{\"name\": \"gpu\", \"addresses\": [" + addresses + "]}'\n");
        Files.setPosixFilePermissions(script, PosixFilePermissions.fromString("rwxr-xr-x"));
        return List.of(
                "-Dspark.worker.resource.gpu.amount=" + count,
                "-Dspark.worker.resource.gpu.discoveryScript=" + script,
                "-Dspark.executor.resource.gpu.amount=1");
    }

    /** Lines of {@link ClusterDriver}. */
    private List<String> drive(String master, int failAfter) throws IOException, InterruptedException {
        return drive(ClusterDriver.class, master, List.of(), "2", Integer.toString(failAfter), "1");
    }

    /** What a driver in a process of its own prints. */
    private List<String> drive(Class<?> driverClass, String master, List<String> properties, String... arguments)
            throws IOException, InterruptedException {
        Path home = sparkHome();
        Path runs = Files.createDirectory(folder.resolve(master.startsWith("local[") ? "threads" : "executors"));
        String classPath = System.getProperty("java.class.path");
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
                .filter(argument -> argument.startsWith("--add-opens"))
                .forEach(command::add);
        command.addAll(List.of(
                "-Xmx1g",
                "-Dspark.master=" + master,
                "-Dspark.ui.enabled=false",
                "-Dspark.driver.host=127.0.0.1",
                "-Dspark.driver.bindAddress=127.0.0.1",
                "-Dspark.executor.memory=1g",
                "-Dspark.executor.extraClassPath=" + classPath,
                "-cp",
                classPath));
        command.addAll(properties);
        command.addAll(List.of(driverClass.getName(), runs.toString()));
        command.addAll(List.of(arguments));
        File out = folder.resolve("driver.out").toFile();
        ProcessBuilder builder = new ProcessBuilder(command)
                .directory(folder.toFile())
                .redirectOutput(out)
                .redirectError(folder.resolve("driver.err").toFile());
        builder.environment().put("SPARK_HOME", home.toString());
        builder.environment().put("SPARK_SCALA_VERSION", "2.13");
        builder.environment().put("SPARK_LOCAL_IP", "127.0.0.1");
        Process driver = builder.start();
        try {
            assertThat(driver.waitFor(120, TimeUnit.SECONDS))
                    .as(() -> read("driver.err"))
                    .isTrue();
        } finally {
            driver.destroy();
        }
        List<String> lines = Files.readAllLines(out.toPath()).stream()
                .filter(line -> line.matches("(steps|loss|validation|failed) .*"))
                .toList();
        assertThat(lines).as(() -> read("driver.err")).isNotEmpty();
        return lines;
    }

    private String read(String file) {
        try {
            return Files.readString(folder.resolve(file));
        } catch (IOException e) {
            return "cannot read " + file + ": " + e;
        }
    }

    /** What Spark needs of an installation: the jars come from the class path. */
    private Path sparkHome() throws IOException {
        Path home = folder.resolve("spark");
        Files.createDirectories(home.resolve("jars"));
        if (!Files.exists(home.resolve("RELEASE"))) {
            Files.createFile(home.resolve("RELEASE"));
        }
        return home;
    }

    /** One folder with a log for each executor. */
    private List<Path> executorLogs() throws IOException {
        try (var files = Files.walk(folder.resolve("spark").resolve("work"))) {
            return files.filter(file -> file.getFileName().toString().equals("stderr"))
                    .toList();
        }
    }
}
