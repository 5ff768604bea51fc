package io.fourfold.train;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.sun.management.OperatingSystemMXBean;
import io.fourfold.checkpoint.Agreement;
import io.fourfold.checkpoint.Box;
import io.fourfold.checkpoint.Checkpoint;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.HostSnapshot;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.Quantity;
import io.fourfold.checkpoint.Retention;
import io.fourfold.checkpoint.ShardLayout;
import io.fourfold.checkpoint.TensorSection;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.Sinks;
import io.fourfold.metrics.StepMetrics;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Measures what saving costs the step loop, and the rates of saving and loading. Arguments: a run configuration, an empty
 * folder, and settings as {@code key=value}. Trains 120 steps with a save every 40 and compares windows of 20 steps
 * with one save and without, taking turns in one run, so that what else the machine does meets both; processor time is
 * that of all threads, which other programs disturb less.
 */
public final class CheckpointBenchmark {
    private static final int WINDOW = 20;
    private static final int STEPS = 6 * WINDOW;
    private static final int ELEMENTS = 24 << 20;

    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private CheckpointBenchmark() {}

    public static void main(String[] arguments) {
        Path folder = Path.of(arguments[1]);
        rates(folder.resolve("rates"));
        for (boolean async : new boolean[] {true, false}) {
            List<String> sets = new ArrayList<>(List.of(arguments).subList(2, arguments.length));
            sets.addAll(List.of(
                    "train.steps=" + STEPS,
                    "train.eval_every=0",
                    "run.checkpoint.every=" + 2 * WINDOW,
                    "run.checkpoint.async=" + async));
            FourfoldConfig config =
                    ConfigLoader.load(List.of(Path.of(arguments[0])), sets).config();
            Times times = new Times();
            Ranks.run(
                    config.parallel().worldSize(),
                    world -> train(config, world, times, folder.resolve(async ? "async" : "sync")));
            times.print(async);
        }
    }

    private static TrainResult train(FourfoldConfig config, InProcessWorld world, Times times, Path folder) {
        try (Backend backend = new CpuBackend(1);
                SyntheticReader reader = new SyntheticReader(
                        config.train().sequenceLength(), config.model().vocabSize(), 5)) {
            return new Trainer(new TrainerInputs(
                            config,
                            backend,
                            backend.communicating(world),
                            reader,
                            null,
                            world.rank() == 0 ? times : Sinks.none(),
                            new LocalRunStorage(folder),
                            new RunIdentity("benchmark", "", "benchmark"),
                            1))
                    .run();
        }
    }

    /** When each step ended. */
    private static final class Times implements MetricsSink {
        private final double[] ends = new double[STEPS + 1];
        private final double[] processor = new double[STEPS + 1];

        @Override
        public void start(Map<String, String> facts, int firstStep, int totalSteps) {}

        @Override
        public void step(StepMetrics metrics) {
            ends[metrics.step()] = System.nanoTime() * 1e-9;
            processor[metrics.step()] = SYSTEM.getProcessCpuTime() * 1e-9;
        }

        @Override
        public void evaluation(EvalMetrics metrics) {}

        @Override
        public void event(int step, String kind, String message) {
            System.out.println("  step " + step + " " + kind + ": " + message);
        }

        @Override
        public void close() {}

        /** A step's end is before its save, so window [40, 60) has the save after step 40. */
        void print(boolean async) {
            print(async, "wall time", ends);
            print(async, "processor time", processor);
        }

        private static void print(boolean async, String what, double[] seconds) {
            double without = mean(seconds, 1, 3, 5);
            double with = mean(seconds, 2, 4);
            System.out.printf(
                    Locale.ROOT,
                    "async %s: %s of %d steps: %.3f s without a save, %.3f s with one: %+.1f%%%n",
                    async,
                    what,
                    WINDOW,
                    without,
                    with,
                    100 * (with / without - 1));
        }

        private static double mean(double[] seconds, int... windows) {
            return Arrays.stream(windows)
                    .mapToDouble(w -> seconds[(w + 1) * WINDOW] - seconds[w * WINDOW])
                    .average()
                    .orElseThrow();
        }
    }

    /** One rank, one thread: copying, hashing and writing, verifying, reading back. */
    private static void rates(Path folder) {
        ShardLayout layout = ShardLayout.whole("w", new long[] {ELEMENTS / 1024, 1024});
        float[] values = new float[ELEMENTS];
        for (int i = 0; i < ELEMENTS; i++) {
            values[i] = i * 1.1f;
        }
        List<TensorSection> sections = new ArrayList<>();
        for (Quantity quantity : List.of(Quantity.WEIGHT, Quantity.MOMENT1, Quantity.MOMENT2)) {
            sections.add(
                    new TensorSection(quantity, layout, CpuTensor.ofFloats(DType.FP32, values, Shape.of(ELEMENTS))));
        }
        double megabytes = 3.0 * ELEMENTS * Float.BYTES / 1e6;
        CheckpointStore store = new CheckpointStore(new LocalRunStorage(folder));
        HostSnapshot snapshot = new HostSnapshot();
        try (CpuBackend backend = new CpuBackend(1)) {
            for (int round = 1; round <= 3; round++) {
                int step = round;
                rate("copy", megabytes, () -> snapshot.capture(backend, sections));
                rate(
                        "save",
                        megabytes,
                        () -> store.save(identity(step), sections, backend, Agreement.alone(), Retention.last(1)));
                try (Checkpoint checkpoint = store.open(step)) {
                    rate("verify", megabytes, () -> checkpoint.verify(0, 1));
                    rate(
                            "load",
                            megabytes,
                            () -> sections.forEach(
                                    section -> checkpoint.read(section.quantity(), "w", whole(checkpoint))));
                }
            }
        }
    }

    private static Box whole(Checkpoint checkpoint) {
        return new Box(new long[2], checkpoint.shape("w"));
    }

    private static void rate(String what, double megabytes, Runnable work) {
        long start = System.nanoTime();
        work.run();
        double seconds = (System.nanoTime() - start) * 1e-9;
        System.out.printf(
                Locale.ROOT, "%-7s %6.0f MB/s (%.0f MB in %.3f s)%n", what, megabytes / seconds, megabytes, seconds);
    }

    private static CheckpointManifest.Identity identity(int step) {
        return new CheckpointManifest.Identity(
                step, 1, 1, 1, "", "", "", Map.of(), JsonNodeFactory.instance.objectNode(), "benchmark", "now");
    }
}
