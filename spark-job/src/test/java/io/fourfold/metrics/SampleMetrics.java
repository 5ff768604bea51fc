package io.fourfold.metrics;

import io.fourfold.kernels.op.QuantStats;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Small fixed records. */
final class SampleMetrics {
    static final Clock CLOCK = Clock.fixed(Instant.parse("2026-02-03T04:05:06Z"), ZoneOffset.UTC);

    private SampleMetrics() {}

    static Map<String, String> facts() {
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("name", "sample");
        facts.put("model", "tiny \"quoted\"");
        facts.put("recipe", "nvfp4");
        return facts;
    }

    static StepMetrics step(int step) {
        return step(step, 5.0 / step);
    }

    static StepMetrics step(int step, double loss) {
        Map<String, Double> phases = new LinkedHashMap<>();
        phases.put("forward", 0.2);
        phases.put("backward", 0.3);
        return new StepMetrics(
                step,
                step * 1024L,
                step * 8L,
                loss,
                0.01,
                0.001,
                1.5,
                3e-4,
                0.5,
                2048,
                1e9,
                Double.NaN,
                phases,
                Map.of("dp_cp", 4096L),
                List.of(new LayerLoad(0, new int[] {10, 20, 30, 40}), new LayerLoad(2, new int[] {25, 25, 25, 25})),
                0,
                Map.of("layers.2.expert_up.fprop.x", new QuantStats(1000, 50, 3, 63, 1, 7.5f, 123.25, 0.5)));
    }
}
