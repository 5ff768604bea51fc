package io.fourfold.bench.operations;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.bench.BenchDevice;
import io.fourfold.bench.BenchShape;
import io.fourfold.bench.CpuBenchDevice;
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
                .hasSize(39)
                .allSatisfy(result -> assertThat(result.passed())
                        .as(OperationBenchmark.line(result))
                        .isTrue());
        assertThat(results)
                .allSatisfy(result -> assertThat(result.teraflops() > 0 || result.gigabytesPerSecond() > 0)
                        .isTrue());
    }
}
