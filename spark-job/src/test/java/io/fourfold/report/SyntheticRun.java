package io.fourfold.report;

import io.fourfold.kernels.op.QuantStats;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.JsonlSink;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;

/** Writes run folders that look like those of a trainer: noise, a spike, routers that find their balance, FP4 losses. */
final class SyntheticRun {
    private static final int TOKENS_A_STEP = 8192;
    private static final String[] KINDS = {"qkv", "attention_output", "expert_up", "expert_down"};
    private static final String[] SIDES = {"fprop.x", "fprop.w", "dgrad.dy", "dgrad.w", "wgrad.dy", "wgrad.x"};

    private final int total;
    private int layers = 6;
    private int experts = 8;
    private String recipe = "nvfp4";
    private double excess = 1;
    private boolean quantized = true;

    SyntheticRun(int total) {
        this.total = total;
    }

    SyntheticRun model(int layers, int experts) {
        this.layers = layers;
        this.experts = experts;
        return this;
    }

    /** {@code excess} multiplies the part of the loss that training can remove. */
    SyntheticRun recipe(String recipe, double excess) {
        this.recipe = recipe;
        this.excess = excess;
        this.quantized = recipe.equals("nvfp4");
        return this;
    }

    Map<String, String> facts() {
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("run", "tiny-" + recipe);
        facts.put("model", "tiny-moe: " + layers + " layers, " + experts + " experts, top 2");
        facts.put("recipe", recipe);
        facts.put("backend", "cpu");
        facts.put("ranks", "2 (TP 1, CP 1, DP 2, PP 1; EP 2)");
        facts.put("parameters", "12.4M total, 5.1M active");
        facts.put("token_budget", String.format(Locale.ROOT, "%,d", (long) total * TOKENS_A_STEP));
        facts.put("tokenizer", "bytes");
        return facts;
    }

    /** Steps {@code first} to {@code last} as one attempt. */
    SyntheticRun write(Path folder, int first, int last) {
        try (JsonlSink sink = new JsonlSink(folder)) {
            sink.start(facts(), first, total);
            if (first > 1) {
                sink.event(first - 1, EventKind.RESUME, "from checkpoints/step-" + (first - 1));
            }
            for (int step = first; step <= last; step++) {
                sink.step(step(step));
                if (step % Math.max(1, total / 10) == 0) {
                    sink.evaluation(new EvalMetrics(step, loss(step) + 0.05, 65536, 1.4));
                    sink.event(step, EventKind.CHECKPOINT, "checkpoints/step-" + step + ", 148 MiB in 0.8 s");
                }
                if (quantized && step == total * 4 / 5) {
                    sink.event(step, EventKind.PRECISION_SWITCH, "fprop GEMMs are BF16 from here");
                }
            }
            if (last == total) {
                sink.event(last, EventKind.FINISHED, "all steps done");
            }
        }
        return this;
    }

    /** The files beside the metrics; the text tries to break out of the markup. */
    void writeExtras(Path folder) throws IOException {
        Files.writeString(
                folder.resolve("generation.txt"),
                "It was the best of times, it was the worst of times,\nand the <script>alert('x')</script> & the \"sea\""
                        + " was of the colour of the sky. The old man had seen it before, and he said so to the boy, who"
                        + " did not listen.\u0000");
        Files.writeString(
                folder.resolve("config.yaml"),
                "model:\n  name: tiny\n  layers: 6\ndata:\n  sources: {web: [\"<b>&\"]}\nrecipe:\n  kind: nvfp4\n");
        Files.writeString(
                folder.resolve("plan.json"),
                "{\"configHash\":\"9f2c77\",\"parameters\":{\"total\":12400000,\"active\":5100000},\"flopsPerToken\":31000000,"
                        + "\"bytesPerRank\":{\"weightBytes\":24800000,\"optimizerBytes\":49600000},\"groups\":[[0,1],[2,3]],"
                        + "\"ranks\":[{\"rank\":0,\"host\":\"a\",\"memory_bytes\":149000000},"
                        + "{\"rank\":1,\"host\":\"<i>\",\"memory_bytes\":149000000}]}");
    }

    private double loss(int step) {
        return 1.6 + 3.9 * excess * Math.pow(1 + 120.0 * step / (total + 20), -0.42);
    }

    StepMetrics step(int step) {
        Random random = new Random(1000003L * step + layers);
        double progress = (double) step / total;
        double warm = Math.min(1, step / (0.05 * total + 1));
        double decay = Math.min(1, (1 - progress) / 0.2 + 0.01);
        double seconds = (step == 1 ? 1.9 : 0.62) * (1 + 0.05 * random.nextGaussian() * random.nextDouble());
        boolean spike = step == total * 9 / 20;
        Map<String, Double> phases = new LinkedHashMap<>();
        phases.put("data", 0.01 * seconds);
        phases.put("forward", 0.31 * seconds);
        phases.put("backward", 0.52 * seconds);
        phases.put("gradients", 0.06 * seconds);
        phases.put("optimizer", 0.07 * seconds);
        boolean sampled = quantized && (step - 1) % Math.max(1, total / 60) == 0;
        return new StepMetrics(
                step,
                (long) step * TOKENS_A_STEP,
                step * 8L,
                loss(step) * (1 + 0.012 * random.nextGaussian()) + (spike ? 0.5 : 0),
                0.012 + 0.03 * Math.exp(-8 * progress),
                0.0008 * (1 + 0.1 * random.nextGaussian()),
                (spike ? 9 : 0.35) + 2.2 * Math.exp(-12 * progress) + 0.08 * Math.abs(random.nextGaussian()),
                3e-4 * warm * decay,
                seconds,
                TOKENS_A_STEP / seconds,
                TOKENS_A_STEP / seconds * 31e6,
                Double.NaN,
                phases,
                Map.of(),
                loads(random, progress),
                0,
                sampled ? quantization(random, progress) : Map.of());
    }

    private List<LayerLoad> loads(Random random, double progress) {
        List<LayerLoad> loads = new ArrayList<>();
        for (int layer = 0; layer < layers; layer++) {
            int[] tokens = new int[experts];
            Random fixed = new Random(layer);
            for (int expert = 0; expert < experts; expert++) {
                double bias =
                        Math.exp(1.1 * fixed.nextGaussian() * Math.exp(-3.5 * progress) + 0.08 * random.nextGaussian());
                tokens[expert] = (int) Math.round(2.0 * TOKENS_A_STEP / experts * bias);
            }
            loads.add(new LayerLoad(layer, tokens));
        }
        return loads;
    }

    private Map<String, QuantStats> quantization(Random random, double progress) {
        Map<String, QuantStats> stats = new LinkedHashMap<>();
        for (int layer = 0; layer < layers; layer++) {
            for (String kind : KINDS) {
                for (String side : SIDES) {
                    boolean weak = kind.equals("expert_down") && side.equals("dgrad.w")
                            || kind.equals("expert_up") && side.equals("fprop.x");
                    double share = (weak ? 0.09 : side.contains("dy") ? 0.05 : 0.025)
                            * (1 + 0.6 * progress)
                            * (1 + 0.12 * layer)
                            * (1 + 0.05 * random.nextGaussian());
                    stats.put(
                            "layers." + layer + "." + kind + "." + side,
                            new QuantStats(
                                    1_000_000,
                                    (long) (1e6 * share),
                                    900,
                                    62500,
                                    weak ? 310 : 0,
                                    4.2f,
                                    1e6,
                                    1e4 * (1 + share)));
                }
            }
        }
        return stats;
    }
}
