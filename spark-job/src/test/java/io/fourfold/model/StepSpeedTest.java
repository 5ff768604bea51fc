package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import java.lang.management.ManagementFactory;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Tokens per second of forward and backward on one rank of the CPU backend with one OpenBLAS thread, at quickstart scale.
 * NVFP4 is emulated here and may cost at most twice the BF16 step. Time is the thread's CPU time in the fastest of several
 * steps, so that other work on the machine matters little.
 */
@Tag("slow")
class StepSpeedTest {
    private static final int SAMPLES = 8;

    @Test
    void emulationCostsAtMostTwiceTheBf16Step() {
        double bf16 = tokensPerSecond("bf16");
        double nvfp4 = tokensPerSecond("nvfp4");
        System.out.printf(Locale.ROOT, "tokens/s: bf16 %.0f, nvfp4 %.0f, ratio %.2f%n", bf16, nvfp4, bf16 / nvfp4);
        assertThat(bf16 / nvfp4).isLessThan(2);
    }

    private static double tokensPerSecond(String recipe) {
        FourfoldConfig config = ConfigLoader.load(
                        List.of(),
                        List.of(
                                "model.name=speed",
                                "model.layers=4",
                                "model.hidden_size=256",
                                "model.vocab_size=4096",
                                "model.attention={heads: 4, kv_heads: 2, head_dim: 64, qk_norm: true}",
                                "model.moe={experts: 8, top_k: 2, intermediate_size: 384}",
                                "model.moe.router.aux_loss_coeff=0.01",
                                "recipe.kind=" + recipe,
                                "train.sequence_length=256"))
                .config();
        Batch batch = TinyModels.batch(config, SAMPLES, 3);
        try (SingleRank rank = new SingleRank(config)) {
            int warmup = Integer.getInteger("speed.warmup", 8);
            int measured = Integer.getInteger("speed.steps", 8);
            double seconds = Double.MAX_VALUE;
            for (int i = 0; i < warmup + measured; i++) {
                long start = cpuNanos();
                double unused = rank.run(batch).lossSum();
                seconds = i < warmup ? seconds : Math.min(seconds, (cpuNanos() - start) * 1e-9);
            }
            System.out.printf(
                    Locale.ROOT,
                    "%s: %.0f ms a step, activations %d MiB%n",
                    recipe,
                    seconds * 1e3,
                    rank.model.activationBytes() >> 20);
            return batch.tokenCount() / seconds;
        }
    }

    private static long cpuNanos() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }
}
