package io.fourfold.model;

import io.fourfold.bench.BenchDevice;
import io.fourfold.bench.BenchRanks;
import io.fourfold.bench.CudaBenchDevice;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.kernels.cuda.CudaBackend;
import io.fourfold.kernels.cuda.CudaDevice;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link WeightGatherTest} on GPUs: ranks that share one, and two GPUs connected by NCCL. */
@Tag("gpu")
class CudaWeightGatherTest {
    /** Widths for the kernels of real models. */
    private static final String WIDE = "model.hidden_size=256; model.attention={heads: 4, kv_heads: 2, head_dim: 64};"
            + " model.ffn.intermediate_size=512; model.moe.intermediate_size=128; model.vocab_size=512";

    @BeforeAll
    static void requireGpu() {
        String reason = CudaDevice.unavailableBecause();
        if (reason != null) {
            Assumptions.abort("no ranks on a GPU: " + reason);
        }
    }

    @ParameterizedTest
    @CsvSource(
            nullValues = "-",
            delimiter = '|',
            value = {
                "W2 | -",
                "W2 | recipe.scale_formula=paper; parallel.gradients.overlap=true",
                "W4 EP2 | -",
                "W4 TP2 | -",
                "W4 ETP2 | -",
                "W4 PP2 | -",
                "W8 | model.moe.experts=6; model.moe.intermediate_size=16",
                "W2 | recipe.telemetry_every=2",
                "W2 | recipe.late_switch={step: 4}",
            })
    void ranksOnOneGpu(String mapping, @Nullable String more) throws InterruptedException {
        compare(mapping, more, rank -> new CudaBenchDevice(CudaBackend.shared(0)));
    }

    @ParameterizedTest
    @CsvSource({"false", "true"})
    void twoGpus(boolean overlap) throws InterruptedException {
        if (CudaDevice.count() < 2) {
            Assumptions.abort("needs two GPUs, there are " + CudaDevice.count());
        }
        String more = WIDE + "; parallel.gradients={overlap: " + overlap + ", bucket_mib: 1}";
        compare("W2", more, rank -> new CudaBenchDevice(rank));
    }

    @ParameterizedTest
    @CsvSource({"W2", "W4 EP2"})
    void wideModel(String mapping) throws InterruptedException {
        compare(mapping, WIDE, rank -> new CudaBenchDevice(CudaBackend.shared(0)));
    }

    private static void compare(String mapping, @Nullable String more, IntFunction<BenchDevice> devices)
            throws InterruptedException {
        FourfoldConfig coded = WeightGatherTest.config(mapping, "nvfp4", more);
        try (BenchRanks ranks = BenchRanks.open(coded.parallel().worldSize(), devices)) {
            GatheredSteps exact = GatheredSteps.run(ranks, WeightGatherTest.config(mapping, "exact", more));
            GatheredSteps actual = GatheredSteps.run(ranks, coded);
            System.out.printf(
                    "GATHER %-10s %-60s last losses %s %s, dp_cp bytes %d of %d%n",
                    mapping,
                    more,
                    exact.losses().get(exact.losses().size() - 1),
                    actual.losses().get(actual.losses().size() - 1),
                    actual.bytes("dp_cp"),
                    exact.bytes("dp_cp"));
            WeightGatherTest.assertSame(exact, actual);
        }
    }
}
