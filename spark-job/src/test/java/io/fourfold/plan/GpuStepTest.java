package io.fourfold.plan;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.parallel.ParallelMapping;
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

    /** The first of two stages runs one micro-batch ahead, however many follow. */
    @Test
    void aPipelineKeepsTheMicroBatchesInFlight() {
        MemoryEstimate one = ofTwoStages(1);
        MemoryEstimate eight = ofTwoStages(8);
        assertThat(eight.total()).isGreaterThan(one.total());
        assertThat(ofTwoStages(2).total()).isEqualTo(eight.total());
        // Their blocks' inputs and the output that was sent, three blocks a stage, and the batch's six vectors.
        String again = "train.recompute=[block]";
        long hidden = 2048 * 512 * 2;
        assertThat(stage(0, 8, again).activations() - stage(0, 1, again).activations())
                .isEqualTo((3 + 1) * hidden + 6 * 4 * 2048);
        // Two chunks a stage, of two blocks each: five of them in flight instead of two.
        String[] chunks = {again, "model.layers=8", "parallel.virtual_stages=2", "parallel.stage_layout=[2, 2, 2, 2]"};
        assertThat(stage(0, 8, chunks).activations() - stage(0, 1, chunks).activations())
                .isEqualTo((5 - 2) * ((2 + 1) * hidden + 6 * 4 * 2048));
    }

    private static MemoryEstimate ofTwoStages(int microBatches, String... settings) {
        return Plan.of(pipeline(microBatches, settings)).memory();
    }

    private static MemoryEstimate stage(int rank, int microBatches, String... settings) {
        FourfoldConfig config = pipeline(microBatches, settings);
        return MemoryEstimate.of(config, ParallelMapping.of(config.parallel()), RankShare.of(config, rank));
    }

    private static FourfoldConfig pipeline(int microBatches, String... settings) {
        List<String> sets = new ArrayList<>(List.of(
                "parallel.world_size=2",
                "parallel.pipeline_parallel_size=2",
                "parallel.stage_layout=[3, 3]",
                "train.global_batch_size=" + 2 * microBatches));
        sets.addAll(Arrays.asList(settings));
        return config(sets.toArray(String[]::new));
    }

    /** The last stage has the head and the loss; the first one more micro-batches in flight. */
    @Test
    void theFullestStageIsPlanned() {
        String narrow = "model.vocab_size=512";
        assertThat(ofTwoStages(8, narrow)).isEqualTo(stage(0, 8, narrow));
        String wide = "model.vocab_size=131072";
        assertThat(ofTwoStages(8, wide)).isEqualTo(stage(1, 8, wide));
        assertThat(stage(1, 8)).isEqualTo(stage(1, 1));
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
