package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.RunConfig;
import java.util.Map;
import org.junit.jupiter.api.Test;

class DevicePeakTest {
    private static final RunConfig DEFAULT = TinyRun.tinyConfig(Map.of()).run();

    @Test
    void knownDevicesHaveTheirDenseBf16Peak() {
        assertThat(DevicePeak.flops(DEFAULT, "GPU 0: NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors"))
                .isEqualTo(989e12);
        assertThat(DevicePeak.flops(DEFAULT, "GPU 0: NVIDIA H200, sm_90")).isEqualTo(989e12);
        assertThat(DevicePeak.flops(DEFAULT, "GPU 0: NVIDIA H100 PCIe, sm_90")).isEqualTo(756e12);
    }

    @Test
    void aCpuHasNoneUnlessItIsConfigured() {
        assertThat(DevicePeak.flops(DEFAULT, "cpu (OpenBLAS, 1 thread)")).isNaN();
        RunConfig given = TinyRun.tinyConfig(Map.of("run.peak_tflops", "0.5")).run();
        assertThat(DevicePeak.flops(given, "cpu (OpenBLAS, 1 thread)")).isEqualTo(0.5e12);
    }
}
