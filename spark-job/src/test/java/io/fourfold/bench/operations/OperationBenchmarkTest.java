package io.fourfold.bench.operations;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.bench.BenchDevice;
import io.fourfold.bench.BenchShape;
import io.fourfold.bench.CpuBenchDevice;
import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class OperationBenchmarkTest {
    /** Every row in a small shape. */
    @Test
    void everyOperationPassesOnTheCpu() {
        List<OperationResult> results = new ArrayList<>();
        try (BenchDevice device = new CpuBenchDevice(1)) {
            OperationBenchmark.run(
                    device,
                    new OperationBenchmark.Job(
                            Set.of(OperationGroup.ALL), List.of(BenchShape.T), 1, 1, 20261125, "test"),
                    results::add);
        }
        assertThat(results)
                .hasSize(73)
                .allSatisfy(result -> assertThat(result.passed())
                        .as(OperationBenchmark.line(result))
                        .isTrue());
        assertThat(results)
                .allSatisfy(result -> assertThat(result.teraflops() > 0 || result.gigabytesPerSecond() > 0)
                        .isTrue());
    }

    /** An operation that leaves its output alone, one that is not exact enough, and one that is. */
    @Test
    void marksWhatIsWrong() {
        List<Boolean> passed = new ArrayList<>();
        OperationBenchmark.Job job = new OperationBenchmark.Job(Set.of(), List.of(), 1, 1, 1, "test");
        try (BenchDevice device = new CpuBenchDevice(1);
                TensorScope scope = device.backend().scope(Region.WORKSPACE)) {
            OperationRunner runner = new OperationRunner(device, job, result -> passed.add(result.passed()));
            Tensor out = scope.allocate(DType.FP32, 3);
            Runnable write = () -> device.backend().elementwise().fill(out, 1f);
            runner.measure("unwritten", "", Cost.bytes(1), 0.5, List.of(out), () -> {}, () -> 0);
            runner.measure("inexact", "", Cost.bytes(1), 0.5, List.of(out), write, () -> 0.6);
            runner.measure("not a number", "", Cost.bytes(1), 0.5, List.of(out), write, () -> Double.NaN);
            runner.measure("right", "", Cost.bytes(1), 0.5, List.of(out), write, () -> 0.4);
        }
        assertThat(passed).containsExactly(false, false, false, true);
    }

    @Test
    void errorsAreOfTheWorstSetAndKeepNaN() {
        ErrorCheck check = new ErrorCheck();
        check.add(new float[] {3.3f, 4.4f}, new double[] {3, 4});
        check.endSet();
        check.add(100, 100);
        assertThat(check.error()).isCloseTo(0.1, within(1e-6));
        check.add(Float.NaN, 1);
        check.endSet();
        check.add(1, 1);
        assertThat(check.error()).isNaN();
    }
}
