package io.fourfold.bench.operations;

import io.fourfold.bench.BenchDevice;
import io.fourfold.bench.BenchShape;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Consumer;

/**
 * Measures single operations on random data, each checked in the same program before its time is taken. Sizes are those
 * of the steps' models; see {@link BenchShape}.
 */
public final class OperationBenchmark {
    /**
     * What to measure.
     *
     * @param warmUps runs before the measured ones, the checked one included
     * @param runs measured
     * @param seed of the random data
     * @param version of the program, for the results
     */
    public record Job(
            Set<OperationGroup> groups, List<BenchShape> shapes, int warmUps, int runs, long seed, String version) {
        public Job {
            groups = Set.copyOf(groups);
            shapes = List.copyOf(shapes);
        }

        boolean has(OperationGroup group) {
            return groups.contains(group) || groups.contains(OperationGroup.ALL);
        }
    }

    private OperationBenchmark() {}

    /** Runs what was asked for and hands on each result as soon as it is there. */
    public static void run(BenchDevice device, Job job, Consumer<OperationResult> results) {
        OperationRunner runner = new OperationRunner(device, job, results);
        for (BenchShape shape : job.shapes()) {
            OperationShape sizes = OperationShape.of(shape);
            if (job.has(OperationGroup.GEMM)) {
                new DenseProducts(runner).measure(sizes);
                new Fp8Operations(runner).dense(sizes);
            }
            if (job.has(OperationGroup.GROUPED)) {
                new GroupedProducts(runner).measure(sizes);
                new Fp8Operations(runner).grouped(sizes);
            }
            if (job.has(OperationGroup.ATTENTION)) {
                new AttentionOperations(runner).measure(sizes);
            }
            if (job.has(OperationGroup.NORM)) {
                new NormOperations(runner).measure(sizes);
            }
            if (job.has(OperationGroup.LOSS)) {
                new LossOperations(runner).measure(sizes);
            }
            if (job.has(OperationGroup.PERMUTE)) {
                new RowOperations(runner).measure(sizes);
                new PackingOperations(runner).measure(sizes);
            }
        }
        boolean tiny = job.shapes().stream().allMatch(shape -> shape == BenchShape.T);
        if (job.has(OperationGroup.QUANTIZE)) {
            new QuantizeOperations(runner).measure(tiny ? 64 : 16384, tiny ? 128 : 8192);
            new Fp8Operations(runner).quantize(tiny ? 64 : 16384, tiny ? 128 : 8192);
        }
        if (job.has(OperationGroup.ADAMW)) {
            new OptimizerOperations(runner).measure(tiny ? 1 << 12 : 1 << 28);
        }
    }

    public static String header() {
        return String.format(
                Locale.ROOT,
                "%-30s %-40s %10s %9s %9s %9s %8s",
                "operation",
                "shape",
                "ms",
                "TFLOP/s",
                "GB/s",
                "error",
                "bound");
    }

    /** One line of the table. */
    public static String line(OperationResult r) {
        return String.format(
                Locale.ROOT,
                "%-30s %-40s %10.4f %9s %9s %9.1e %8.0e%s",
                r.operation(),
                r.shape(),
                r.milliseconds(),
                rate(r.teraflops()),
                rate(r.gigabytesPerSecond()),
                r.error(),
                r.bound(),
                r.passed() ? "" : "  FAILED");
    }

    private static String rate(double value) {
        return Double.isNaN(value) ? "-" : String.format(Locale.ROOT, "%.1f", value);
    }
}
