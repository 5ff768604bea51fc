package io.fourfold.report;

import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.RunHistory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A run under the name it has in a comparison.
 *
 * @param label what the legend calls it
 */
public record NamedRun(String label, RunHistory history) {
    /**
     * Reads a run folder.
     *
     * @throws IOException when there is none, it cannot be read, or it holds no step with a finite loss
     */
    public static NamedRun read(String label, Path runFolder) throws IOException {
        if (!Files.isDirectory(runFolder)) {
            throw new IOException("there is no run folder " + runFolder);
        }
        RunHistory history = MetricsReader.read(runFolder);
        if (Curve.loss(history).isEmpty()) {
            throw new IOException("no step with a finite loss in " + runFolder.resolve("metrics.jsonl")
                    + ": is it a run folder whose training has begun?");
        }
        return new NamedRun(label, history);
    }
}
