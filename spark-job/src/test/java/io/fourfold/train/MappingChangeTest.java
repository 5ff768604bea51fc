package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.checkpoint.ObjectStore;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A run that changes its mapping at every checkpoint has the losses of one that never did. */
class MappingChangeTest {
    private static final double FP32_NOISE = 2e-5;

    @TempDir
    Path folder;

    /** World, TP, CP, PP, EP, ETP. */
    private static final int[][] MAPPINGS = {
        {1, 1, 1, 1, 1, 1},
        {2, 2, 1, 1, 1, 1},
        {4, 1, 1, 2, 1, 2},
        {16, 2, 2, 2, 4, 1},
        {4, 1, 2, 1, 2, 2},
        {1, 1, 1, 1, 1, 1}
    };

    @Test
    void losesNothingOnTheWay() {
        TinyRun whole = run(new ObjectStore(), MAPPINGS[0]);
        whole.train();
        List<Double> losses = whole.losses();
        ObjectStore storage = new ObjectStore();
        for (int step = 0; step < MAPPINGS.length; step++) {
            TinyRun part = run(storage, MAPPINGS[step]);
            assertThat(part.train().get(0).firstStep()).isEqualTo(step);
            for (int i = step; i < losses.size(); i++) {
                assertThat(part.losses().get(i - step))
                        .as("loss of step %d after continuing from step %d", i + 1, step)
                        .isCloseTo(losses.get(i), within(FP32_NOISE));
            }
            // The next mapping continues after the first step of this one.
            for (int later = step + 2; later <= losses.size(); later++) {
                storage.delete("checkpoints/step-%08d".formatted(later));
            }
        }
    }

    /** Buckets decide which slices of the buffers a rank's optimizer keeps; checkpoints hold tensors. */
    @ParameterizedTest
    @ValueSource(strings = {"fp32", "bf16"})
    void bucketsMayChangeAtEveryCheckpoint(String recipe) {
        TinyRun whole = bucketed(new ObjectStore(), recipe, "{overlap: false}", 2);
        whole.train();
        List<Double> losses = whole.losses();
        ObjectStore storage = new ObjectStore();
        List<String> gradients = List.of(
                "{overlap: true, bucket_mib: 1}",
                "{overlap: false}",
                "{overlap: true, bucket_mib: 2}",
                "{overlap: true, bucket_mib: 1}",
                "{overlap: false}");
        for (int step = 0; step < gradients.size(); step++) {
            TinyRun part = bucketed(storage, recipe, gradients.get(step), 2);
            assertThat(part.train().get(0).firstStep()).isEqualTo(step);
            assertThat(part.losses()).isEqualTo(losses.subList(step, losses.size()));
            assertThat(part.gradientNorms()).isEqualTo(whole.gradientNorms().subList(step, losses.size()));
            for (int later = step + 2; later <= losses.size(); later++) {
                storage.delete("checkpoints/step-%08d".formatted(later));
            }
        }
        // And with another mapping, whose sums are in another order.
        TinyRun other = bucketed(storage, recipe, "{overlap: true, bucket_mib: 1}", 4);
        other.train();
        for (int i = 0; i < other.losses().size(); i++) {
            double expected = losses.get(losses.size() - other.losses().size() + i);
            assertThat(other.losses().get(i)).isCloseTo(expected, within(recipe.equals("fp32") ? FP32_NOISE : 1e-3));
        }
    }

    /** A model whose dense weights are several buckets of a MiB. */
    private TinyRun bucketed(ObjectStore storage, String recipe, String gradients, int ranks) {
        return run(storage, new int[] {ranks, 1, 1, 1, 1, 1})
                .set("recipe.kind", recipe)
                .set("model.hidden_size", 256)
                .set("model.vocab_size", 2048)
                .set("parallel.gradients", gradients);
    }

    private TinyRun run(ObjectStore storage, int[] mapping) {
        return new TinyRun(folder)
                .storage(storage)
                .set("model.attention.kv_heads", 2)
                .set("train.global_batch_size", 8)
                .set("train.micro_batch_size", 1)
                .set("parallel.world_size", mapping[0])
                .set("parallel.tensor_parallel_size", mapping[1])
                .set("parallel.context_parallel_size", mapping[2])
                .set("parallel.pipeline_parallel_size", mapping[3])
                .set("parallel.expert_parallel_size", mapping[4])
                .set("parallel.expert_tensor_parallel_size", mapping[5]);
    }
}
