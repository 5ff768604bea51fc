package io.fourfold.bench.operations;

import io.fourfold.bench.BenchDevice;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import java.util.function.DoubleSupplier;

/** Checks an operation, then times it. */
final class OperationRunner {
    /**
     * What a run cannot do without.
     *
     * @param flops floating-point operations; 0 where bytes are counted
     * @param bytes read and written; 0 where operations are counted
     */
    record Cost(double flops, double bytes) {
        static Cost flops(double flops) {
            return new Cost(flops, 0);
        }

        static Cost bytes(double bytes) {
            return new Cost(0, bytes);
        }
    }

    private final BenchDevice device;
    private final OperationBenchmark.Job job;
    private final Random random;
    private final Consumer<OperationResult> results;

    OperationRunner(BenchDevice device, OperationBenchmark.Job job, Consumer<OperationResult> results) {
        this.device = device;
        this.job = job;
        this.results = results;
        random = new Random(job.seed());
    }

    Backend backend() {
        return device.backend();
    }

    long seed() {
        return job.seed();
    }

    /** The one source of random data, so that a seed repeats a whole benchmark. */
    Random random() {
        return random;
    }

    /**
     * Fills the outputs with NaN, runs the work once, looks for unwritten outputs and computes the error, then measures.
     *
     * @param bound largest relative error that passes
     * @param outputs FP32 or BF16, all of which the work overwrites
     * @param error called after the first run
     */
    void measure(
            String operation,
            String shape,
            Cost cost,
            double bound,
            List<Tensor> outputs,
            Runnable work,
            DoubleSupplier error) {
        for (Tensor output : outputs) {
            backend().elementwise().fill(output, Float.NaN);
        }
        work.run();
        boolean written = outputs.stream().allMatch(this::finite);
        double found = error.getAsDouble();
        for (int i = 1; i < job.warmUps(); i++) {
            work.run();
        }
        double[] times = device.milliseconds(job.runs(), work);
        Arrays.sort(times);
        int n = times.length;
        double median = (times[(n - 1) / 2] + times[n / 2]) / 2;
        results.accept(new OperationResult(
                operation,
                shape,
                median,
                times[0],
                times[n - 1],
                n,
                cost.flops() > 0 ? cost.flops() / median * 1e-9 : Double.NaN,
                cost.bytes() > 0 ? cost.bytes() / median * 1e-6 : Double.NaN,
                found,
                bound,
                written && found <= bound,
                job.seed(),
                device.description(),
                job.version()));
    }

    /** False when any element is still NaN, or overflowed: the sum of squares carries it through. */
    private boolean finite(Tensor output) {
        try (TensorScope work = backend().scope(Region.WORKSPACE)) {
            Tensor sum = work.zeros(DType.FP32, 1);
            backend().optimizer().addSquaredNorm(output, sum);
            return Float.isFinite(backend().download(sum)[0]);
        }
    }
}
