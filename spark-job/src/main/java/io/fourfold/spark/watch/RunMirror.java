package io.fourfold.spark.watch;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.metrics.JsonlSink;
import io.fourfold.report.RunReport;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A local copy of a remote run folder's metrics: fetched at the start, copied back every {@value #PERIOD_SECONDS} seconds
 * and at the end, then with the report. A killed driver loses at most the last period. Failures to copy are warned about
 * once and tried again.
 */
final class RunMirror implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RunMirror.class);
    private static final long PERIOD_SECONDS = 30;
    private static final String PART = ".part";
    private static final List<String> FETCHED = List.of(JsonlSink.FILE_NAME, "mlflow.json", "config.yaml", "plan.json");

    private final RunStorage remote;
    private final Path local;
    private final Map<String, Long> copied = new HashMap<>();
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "fourfold-metrics-copy");
        thread.setDaemon(true);
        return thread;
    });
    private boolean warned;

    private RunMirror(RunStorage remote, Path local) {
        this.remote = remote;
        this.local = local;
    }

    static RunMirror open(RunStorage remote) {
        try {
            RunMirror mirror = new RunMirror(remote, Files.createTempDirectory("fourfold-metrics-"));
            mirror.fetch();
            mirror.timer.scheduleWithFixedDelay(mirror::copy, PERIOD_SECONDS, PERIOD_SECONDS, TimeUnit.SECONDS);
            return mirror;
        } catch (IOException e) {
            throw new UncheckedIOException("cannot copy the metrics of " + remote.location() + " to a local folder", e);
        }
    }

    Path local() {
        return local;
    }

    private void fetch() throws IOException {
        for (String name : FETCHED) {
            // A kill between delete and rename leaves the whole new file under the other name.
            String source = remote.exists(name) ? name : name + PART;
            if (remote.exists(source)) {
                Path target = local.resolve(name);
                Files.write(target, remote.readAll(source));
                if (source.equals(name)) {
                    copied.put(name, Files.size(target));
                }
            }
        }
    }

    /** Copies what has grown. */
    private synchronized void copy() {
        try (Stream<Path> files = Files.walk(local)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                String name = local.relativize(file).toString();
                long size = Files.size(file);
                if (!Long.valueOf(size).equals(copied.get(name))) {
                    replace(name, file);
                    copied.put(name, size);
                }
            }
        } catch (IOException | UncheckedIOException e) {
            if (!warned) {
                warned = true;
                LOG.warn(
                        "Metrics cannot be copied to {}: {}. Training goes on; the copy is tried again every {} s",
                        remote.location(),
                        e.toString(),
                        PERIOD_SECONDS);
            }
        }
    }

    /** A reader sees the old file or the new one; for a moment none. */
    private void replace(String name, Path file) throws IOException {
        try (OutputStream out = remote.create(name + PART)) {
            Files.copy(file, out);
        }
        remote.delete(name);
        remote.rename(name + PART, name);
    }

    @Override
    public void close() {
        timer.shutdownNow();
        try {
            RunReport.write(local);
            // Same size does not mean same report.
            copied.remove(RunReport.FILE_NAME);
        } catch (IOException | RuntimeException e) {
            LOG.warn("No report was written for {}: {}", remote.location(), e.toString());
        }
        copy();
        try (Stream<Path> files = Files.walk(local)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        } catch (IOException | UncheckedIOException e) {
            LOG.warn("The local copy {} was not removed: {}", local, e.toString());
        }
    }
}
