package io.fourfold.spark;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Stream;

/** Which samples made it into the run: for each step those that the last gang read which got to it. */
final class ReadLog {
    private ReadLog() {}

    /**
     * The samples of each step, sorted; in a run that lost and repeated nothing, step s has exactly the samples from (s - 1)
     * times the global batch on, each once.
     *
     * @param folder what {@link RecordingSetup} was given
     */
    static List<List<Long>> samplesByStep(Path folder, int globalBatch) throws IOException {
        TreeMap<Long, List<Long>> steps = new TreeMap<>();
        for (Path gang : children(folder)) {
            TreeMap<Long, List<Long>> here = new TreeMap<>();
            for (Path reader : children(gang)) {
                for (String line : Files.readAllLines(reader)) {
                    String[] words = line.split(" ", -1);
                    long first = Long.parseLong(words[0]);
                    for (long sample = first; sample < first + Long.parseLong(words[1]); sample++) {
                        here.computeIfAbsent(sample / globalBatch, step -> new ArrayList<>())
                                .add(sample);
                    }
                }
            }
            // A step that an earlier gang had begun was done again.
            steps.putAll(here);
        }
        steps.values().forEach(samples -> samples.sort(null));
        return List.copyOf(steps.values());
    }

    private static List<Path> children(Path folder) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.sorted().toList();
        }
    }
}
