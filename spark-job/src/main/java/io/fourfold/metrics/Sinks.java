package io.fourfold.metrics;

import io.fourfold.config.RunConfig;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Puts a run's sinks together. */
public final class Sinks {
    private static final Logger LOG = LoggerFactory.getLogger(Sinks.class);
    private static final String TENSORBOARD_FOLDER = "tensorboard";

    private Sinks() {}

    /** Console on standard output, metrics.jsonl and, if asked for, TensorBoard events in {@code runFolder}. */
    public static MetricsSink open(Path runFolder, int logEvery, boolean tensorboard) {
        return open(runFolder, logEvery, tensorboard, System.out);
    }

    /**
     * As above with another console. Nothing is opened before {@link MetricsSink#start}, and no failure of a sink ever
     * reaches the caller.
     *
     * @param logEvery steps between two step lines
     */
    public static MetricsSink open(Path runFolder, int logEvery, boolean tensorboard, PrintStream console) {
        List<MetricsSink> sinks = new ArrayList<>();
        // The file comes first: what it holds outlives a console that was closed.
        sinks.add(new SafeSink(
                new JsonlSink(runFolder), runFolder.resolve(JsonlSink.FILE_NAME).toString(), LOG::warn));
        if (tensorboard) {
            Path folder = runFolder.resolve(TENSORBOARD_FOLDER);
            sinks.add(new SafeSink(new TensorBoardSink(folder), folder.toString(), LOG::warn));
        }
        sinks.add(new SafeSink(new ConsoleSink(console, logEvery), "the console", LOG::warn));
        return new CompositeSink(sinks);
    }

    /** As above with what the run's configuration asks for. */
    public static MetricsSink open(Path runFolder, RunConfig run) {
        MetricsSink files = open(runFolder, run.logEvery(), run.tensorboard(), System.out);
        if (run.mlflow().uri().isEmpty()) {
            return files;
        }
        MetricsSink mlflow = new MlflowSink(new MlflowClient(run.mlflow().uri()), run.mlflow(), run.name(), runFolder);
        return new CompositeSink(
                List.of(files, new SafeSink(mlflow, run.mlflow().uri(), LOG::warn)));
    }

    /** A sink that drops everything, for the ranks other than 0. */
    public static MetricsSink none() {
        return new CompositeSink(List.of());
    }

    /** Passes everything to each of {@code sinks}, in order. */
    public static MetricsSink all(List<? extends MetricsSink> sinks) {
        return new CompositeSink(sinks);
    }
}
