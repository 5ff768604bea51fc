package io.fourfold.train;

import io.fourfold.config.RunConfig;
import java.util.List;
import java.util.Locale;

/**
 * Peak of a device, the denominator of MFU: dense BF16 products with FP32 accumulation, without sparsity, whatever the
 * recipe, so that figures of different recipes compare. From NVIDIA's data sheets of the H100, H200 and B200 (the sheets'
 * figures with sparsity, halved).
 */
final class DevicePeak {
    private static final double TERA = 1e12;

    private record Known(String name, double teraFlops) {}

    /** The first entry whose name the device's name contains; the PCIe card has fewer units and less power. */
    private static final List<Known> KNOWN = List.of(
            new Known("H100 PCIe", 756),
            new Known("H100 NVL", 835),
            new Known("H100", 989),
            new Known("H200", 989),
            new Known("GH200", 989),
            new Known("B200", 2250),
            new Known("A100", 312));

    private DevicePeak() {}

    /**
     * FLOP/s of one device; NaN when it is neither configured nor known (a CPU).
     *
     * @param device what the backend says of itself
     */
    static double flops(RunConfig run, String device) {
        if (run.peakTflops() > 0) {
            return run.peakTflops() * TERA;
        }
        String name = device.toLowerCase(Locale.ROOT);
        return KNOWN.stream()
                .filter(known ->
                        name.contains("nvidia") && name.contains(known.name().toLowerCase(Locale.ROOT)))
                .mapToDouble(known -> known.teraFlops() * TERA)
                .findFirst()
                .orElse(Double.NaN);
    }
}
