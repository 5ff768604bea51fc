package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.CheckpointSummary;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.config.FaultSpec;
import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.StepMetrics;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/** Faults at random steps and ranks of a run, and what must hold of the run folder afterwards. */
record FaultCampaign(List<FaultSpec> faults, int steps, int globalBatch) {
    /**
     * Each fault at a step of its own: a run that fails twice at one step is ended on purpose.
     *
     * @param kinds one for each fault
     */
    static FaultCampaign random(long seed, List<FaultSpec.Kind> kinds, int ranks, int steps, int globalBatch) {
        Random random = new Random(seed);
        // The first step has no checkpoint to continue from, which another test covers.
        List<Integer> places =
                new ArrayList<>(IntStream.rangeClosed(2, steps - 1).boxed().toList());
        Collections.shuffle(places, random);
        List<FaultSpec> faults = new ArrayList<>();
        for (int i = 0; i < kinds.size(); i++) {
            String kind = kinds.get(i).name().toLowerCase(Locale.ROOT);
            faults.add(FaultSpec.parse(kind + " rank=" + random.nextInt(ranks) + " step=" + places.get(i)));
        }
        return new FaultCampaign(faults, steps, globalBatch);
    }

    /** The value of {@code run.faults}. */
    String setting() {
        return "[" + String.join(", ", faults.stream().map(FaultSpec::text).toList()) + "]";
    }

    /**
     * Nothing was lost: all faults struck, every committed checkpoint loads, each sample was used once and in order, the
     * losses are those of a run that nothing disturbed.
     */
    void check(Path run, Path reads, Path undisturbed) throws IOException {
        for (FaultSpec fault : faults) {
            assertThat(run.resolve("faults")
                            .resolve(fault.text().replace(' ', '_'))
                            .resolve("1"))
                    .exists();
        }
        List<CheckpointSummary> checkpoints = new CheckpointStore(new LocalRunStorage(run)).summaries(true);
        assertThat(checkpoints)
                .isNotEmpty()
                .allSatisfy(checkpoint -> assertThat(checkpoint.problem()).isNull());
        List<List<Long>> expected = IntStream.range(0, steps)
                .mapToObj(step -> LongStream.range((long) step * globalBatch, (step + 1L) * globalBatch)
                        .boxed()
                        .toList())
                .toList();
        assertThat(ReadLog.samplesByStep(reads, globalBatch)).isEqualTo(expected);
        assertThat(losses(run)).hasSize(steps).isEqualTo(losses(undisturbed));
    }

    private static Map<Integer, Double> losses(Path run) throws IOException {
        Map<Integer, Double> losses = new TreeMap<>();
        for (StepMetrics step : MetricsReader.read(run).steps()) {
            losses.put(step.step(), step.loss());
        }
        return losses;
    }

    /** Markdown rows: each kind, how many, and how long from the strike to the next finished step. */
    String table(Path run) throws IOException {
        Map<FaultSpec.Kind, List<Double>> seconds = new TreeMap<>();
        for (FaultSpec fault : faults) {
            seconds.computeIfAbsent(fault.kind(), kind -> new ArrayList<>()).add(FaultTimes.toNextStep(run, fault));
        }
        StringBuilder rows =
                new StringBuilder("| fault | times | to the next step, median s | longest s |\n|---|---|---|---|\n");
        seconds.forEach((kind, values) -> {
            Collections.sort(values);
            rows.append(String.format(
                    Locale.ROOT,
                    "| %s | %d | %.1f | %.1f |%n",
                    kind.name().toLowerCase(Locale.ROOT),
                    values.size(),
                    values.get(values.size() / 2),
                    values.get(values.size() - 1)));
        });
        RunHistory history = MetricsReader.read(run);
        rows.append(String.format(
                Locale.ROOT,
                "%nsteps %d, starts %d, step lines done again %d, checkpoints %d%n",
                history.lastStep(),
                history.attempts(),
                history.supersededLines(),
                new CheckpointStore(new LocalRunStorage(run)).steps().size()));
        return rows.toString();
    }

    /** Puts the table where a later look finds it, and on standard output. */
    void report(Path run, Path file) throws IOException {
        String table = table(run);
        System.out.println(table);
        Files.createDirectories(file.getParent());
        Files.writeString(file, table);
    }
}
