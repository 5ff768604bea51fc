package io.fourfold.plan;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Planned bytes of a step on a GPU; the replay itself fails when something would lie in a gradient that is written. */
class GpuStepTest {
    private static FourfoldConfig config(String... settings) {
        List<String> sets = new ArrayList<>(List.of(
                "model.name=test",
                "model.layers=6",
                "model.hidden_size=512",
                "model.vocab_size=8192",
                "model.attention={heads: 8, kv_heads: 2, head_dim: 64}",
                "model.ffn={intermediate_size: 2048}",
                "model.moe={experts: 16, top_k: 2, intermediate_size: 1024}",
                "recipe.kind=bf16",
                "train.sequence_length=1024",
                "train.micro_batch_size=2",
                "train.global_batch_size=2",
                "run.backend=cuda"));
        sets.addAll(Arrays.asList(settings));
        return ConfigLoader.load(List.of(), sets).config();
    }

    private static MemoryEstimate memory(String... settings) {
        return Plan.of(config(settings)).memory();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "train.recompute=[]",
                "train.recompute=[norm]",
                "train.recompute=[activation]",
                "train.recompute=[dispatch]",
                "train.recompute=[attention]",
                "train.recompute=[expert]",
                "train.recompute=[block]",
                "train.recompute=[norm, activation, dispatch, attention]",
                "model.tie_embeddings=true",
                "model.moe.dense_layers=[0, 3, 5]",
                "model.moe.shared_expert={intermediate_size: 768, gated: true}",
                "recipe.kind=fp32",
                "recipe.kind=nvfp4",
                "recipe={kind: fp8, telemetry_every: 0}",
                "model.layers=1",
            })
    void lendingSavesWhatIsLentAtMost(String setting) {
        MemoryEstimate owned = memory(setting, "train.lend_gradients=false");
        MemoryEstimate lending = memory(setting);
        assertThat(owned.lent()).isZero();
        assertThat(lending.lent()).isPositive().isLessThanOrEqualTo(lending.gradients());
        assertThat(lending.gradients()).isEqualTo(owned.gradients());
        assertThat(lending.total()).isBetween(owned.total() - lending.lent(), owned.total());
        assertThat(lending.activations()).isLessThan(owned.activations());
    }

    @Test
    void severalMicroBatchesAndPipelinesLendNothing() {
        assertThat(memory("train.global_batch_size=4").lent()).isZero();
        assertThat(memory("train.global_batch_size=4", "parallel.world_size=2").lent())
                .isPositive();
        assertThat(memory("parallel.world_size=2", "parallel.pipeline_parallel_size=2")
                        .lent())
                .isZero();
    }

    /** Rows before the experts' products and the gradient before the activation need no memory where only operands are made. */
    @Test
    void operandsOfExpertsAreMadeWithoutTheirSource() {
        long alone = savedWithoutStatistics("parallel.world_size=1");
        long ofTwo = savedWithoutStatistics(
                "parallel.world_size=2", "parallel.expert_parallel_size=2", "train.global_batch_size=4");
        assertThat(ofTwo).isPositive().isLessThan(alone);
    }

    private static long savedWithoutStatistics(String... settings) {
        long[] bytes = new long[2];
        for (int i = 0; i < 2; i++) {
            List<String> sets = new ArrayList<>(Arrays.asList(settings));
            sets.add("train.lend_gradients=false");
            sets.add("model.vocab_size=512"); // the loss needs little
            sets.add("recipe={kind: fp8, telemetry_every: " + 20 * i + "}");
            bytes[i] = memory(sets.toArray(String[]::new)).workspace();
        }
        return bytes[1] - bytes[0];
    }

    @Test
    void recomputationKeepsLess() {
        String own = "train.lend_gradients=false";
        long all = memory(own).activations();
        long tokens = 2048;
        long bf16 = 2;
        assertThat(all - memory(own, "train.recompute=[dispatch]").activations())
                .isEqualTo(6 * tokens * 2 * 512 * bf16);
        assertThat(all - memory(own, "train.recompute=[activation]").activations())
                .isEqualTo(6 * tokens * 2 * 1024 * bf16);
        assertThat(all - memory(own, "train.recompute=[norm]").activations()).isEqualTo(6 * tokens * 2 * 512 * bf16);
    }
}
