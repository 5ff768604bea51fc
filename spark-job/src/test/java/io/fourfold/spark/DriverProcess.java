package io.fourfold.spark;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Runs {@link RestartDriver} on a cluster of one machine; the Spark installation is made of the class path. */
final class DriverProcess {
    private final Path folder;
    private final String master;

    DriverProcess(Path folder, String master) {
        this.folder = folder;
        this.master = master;
    }

    Path run() {
        return folder.resolve("run");
    }

    Path reads() {
        return folder.resolve("reads");
    }

    /** Standard output of the last driver. */
    List<String> lines() throws IOException {
        return Files.readAllLines(folder.resolve("driver.out"));
    }

    String errors() {
        try {
            return Files.readString(folder.resolve("driver.err"));
        } catch (IOException e) {
            return e.toString();
        }
    }

    /** Exit status. */
    int start(Map<String, String> settings, long limitSeconds) throws IOException, InterruptedException {
        Process driver = java(folder, "driver", command(settings)).start();
        try {
            if (!driver.waitFor(limitSeconds, TimeUnit.SECONDS)) {
                throw new IllegalStateException("the driver did not end in " + limitSeconds + " s: " + errors());
            }
            return driver.exitValue();
        } finally {
            driver.destroyForcibly();
        }
    }

    /**
     * A process with what Spark needs of an installation: its jars come from the class path.
     *
     * @param name of its output files
     * @param arguments after the class path
     */
    static ProcessBuilder java(Path folder, String name, List<String> arguments) throws IOException {
        Path home = folder.resolve("spark");
        Files.createDirectories(home.resolve("jars"));
        if (!Files.exists(home.resolve("RELEASE"))) {
            Files.createFile(home.resolve("RELEASE"));
        }
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
                .filter(argument -> argument.startsWith("--add-opens"))
                .forEach(command::add);
        command.addAll(List.of("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"));
        command.addAll(List.of("-cp", System.getProperty("java.class.path")));
        command.addAll(arguments);
        ProcessBuilder builder = new ProcessBuilder(command)
                .directory(folder.toFile())
                .redirectOutput(folder.resolve(name + ".out").toFile())
                .redirectError(folder.resolve(name + ".err").toFile());
        builder.environment()
                .putAll(Map.of(
                        "SPARK_HOME", home.toString(), "SPARK_SCALA_VERSION", "2.13", "SPARK_LOCAL_IP", "127.0.0.1"));
        return builder;
    }

    private List<String> command(Map<String, String> settings) {
        List<String> command = new ArrayList<>(List.of(
                "-Xmx1g",
                "-Dspark.master=" + master,
                "-Dspark.ui.enabled=false",
                "-Dspark.driver.host=127.0.0.1",
                "-Dspark.driver.bindAddress=127.0.0.1",
                "-Dspark.executor.memory=512m",
                "-Dspark.executor.extraJavaOptions=-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
                "-Dspark.executor.extraClassPath=" + System.getProperty("java.class.path"),
                RestartDriver.class.getName(),
                run().toString(),
                reads().toString()));
        settings.forEach((key, value) -> command.add(key + "=" + value));
        return command;
    }
}
