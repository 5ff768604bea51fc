package io.fourfold.spark.watch;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.RunConfig;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.RankBeat;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.Sinks;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.spark.RunFolders;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The run's metrics files and console. A run folder on local disk is written directly; for one on another file system the
 * files grow in a local folder and are copied over now and then.
 */
public final class RunFiles implements MetricsSink {
    private static final Logger LOG = LoggerFactory.getLogger(RunFiles.class);

    private final @Nullable RunMirror mirror;
    private final Path local;
    private final MetricsSink sinks;

    private RunFiles(@Nullable RunMirror mirror, Path local, MetricsSink sinks) {
        this.mirror = mirror;
        this.local = local;
        this.sinks = sinks;
    }

    /** Opens the files; what an earlier attempt wrote is continued. */
    public static RunFiles open(RunConfig run, RunStorage folder) {
        Path direct = RunFolders.localPath(run.dir()).orElse(null);
        if (direct != null) {
            return new RunFiles(null, direct, Sinks.open(direct, run));
        }
        RunMirror mirror = RunMirror.open(folder);
        return new RunFiles(mirror, mirror.local(), Sinks.open(mirror.local(), run));
    }

    /** What earlier attempts wrote. */
    RunHistory past() {
        try {
            return MetricsReader.read(local);
        } catch (IOException e) {
            LOG.warn("Earlier metrics in {} cannot be shown: {}", local, e.toString());
            return RunHistory.EMPTY;
        }
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        sinks.start(facts, firstStep, totalSteps);
    }

    @Override
    public void step(StepMetrics metrics) {
        sinks.step(metrics);
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        sinks.evaluation(metrics);
    }

    @Override
    public void event(int step, String kind, String message) {
        sinks.event(step, kind, message);
    }

    @Override
    public void ranks(List<RankBeat> ranks) {
        sinks.ranks(ranks);
    }

    @Override
    public void close() {
        sinks.close();
        if (mirror != null) {
            mirror.close();
        }
    }
}
