package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.model.RankGroup.StepResult;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** {@link LawTest} for more kinds of routers and losses on few mappings. */
class MappingTest {
    private record Model(String name, String... settings) {}

    private static final Model[] MODELS = {
        new Model("plain"),
        new Model(
                "sigmoid with bias, shared gated expert, dense block",
                "model.layers=3",
                "model.moe.router.score=sigmoid",
                "model.moe.router.normalize=true",
                "model.moe.router.bias_update_rate=0.01",
                "model.moe.shared_expert={intermediate_size: 8, gated: true}",
                "model.moe.dense_layers=[1]"),
        new Model(
                "aux per sequence, z-loss",
                "model.moe.router.aux_loss_coeff=0.5",
                "model.moe.router.aux_loss_scope=sequence",
                "model.moe.router.z_loss_coeff=0.1"),
        new Model(
                "aux over the global batch",
                "model.moe.router.aux_loss_coeff=0.5",
                "model.moe.router.aux_loss_scope=global_batch"),
        new Model("dropping in full sequences", "model.moe.capacity={factor: 0.75, scope: full_sequence}"),
        new Model("padded to capacity", "model.moe.capacity={factor: 0.75, scope: full_sequence, pad: true}"),
    };

    private static final String[] SIZES = {"model.vocab_size=24", "train.sequence_length=8"};

    private static final String[][] MAPPINGS = {
        {"parallel.world_size=1", "train.micro_batch_size=4"},
        {"parallel.world_size=2"},
        {"parallel.world_size=2", "parallel.expert_parallel_size=2"},
        {"parallel.world_size=2", "parallel.expert_parallel_size=2", "train.micro_batch_size=2"},
        {"parallel.world_size=4", "parallel.expert_parallel_size=2"},
        {"parallel.world_size=4", "parallel.expert_parallel_size=4"},
        {"parallel.world_size=2", "parallel.tensor_parallel_size=2", "train.micro_batch_size=2"},
        {"parallel.world_size=2", "parallel.context_parallel_size=2", "train.micro_batch_size=2"},
        {
            "parallel.world_size=4",
            "parallel.tensor_parallel_size=2",
            "parallel.context_parallel_size=2",
            "parallel.expert_parallel_size=2",
            "train.micro_batch_size=4"
        },
        {"parallel.world_size=2", "parallel.expert_tensor_parallel_size=2"},
        {"parallel.world_size=4", "parallel.expert_tensor_parallel_size=2"},
        {"parallel.world_size=4", "parallel.expert_tensor_parallel_size=2", "parallel.expert_parallel_size=2"},
        {"parallel.world_size=4", "parallel.expert_tensor_parallel_size=4"},
    };

    @TestFactory
    Stream<DynamicTest> equalsOneRank() {
        return Stream.of(MODELS).flatMap(model -> {
            FourfoldConfig reference = TinyModels.config(join(SIZES, model.settings()));
            Batch batch = TinyModels.batch(reference, 4, 5);
            return Stream.of(MAPPINGS)
                    .map(mapping -> DynamicTest.dynamicTest(
                            model.name() + " " + String.join(" ", mapping),
                            () -> StepComparison.FP32.compare(
                                    RankGroup.step(reference, batch),
                                    RankGroup.step(
                                            TinyModels.config(join(join(SIZES, model.settings()), mapping)), batch))));
        });
    }

    @Test
    void aRankMayReceiveNoRows() throws InterruptedException {
        String[] settings = {"train.sequence_length=4", "model.moe.top_k=1"};
        FourfoldConfig reference = TinyModels.config(settings);
        FourfoldConfig parallel =
                TinyModels.config(join(settings, "parallel.world_size=4", "parallel.expert_parallel_size=4"));
        for (int seed = 0; seed < 100; seed++) {
            Batch batch = TinyModels.batch(reference, 4, seed);
            StepResult expected = RankGroup.step(reference, batch);
            if (expected.load().stream()
                    .anyMatch(load -> Arrays.stream(load.tokens()).min().orElseThrow() == 0)) {
                StepComparison.FP32.compare(expected, RankGroup.step(parallel, batch));
                return;
            }
        }
        throw new AssertionError("no seed leaves an expert without tokens");
    }

    private static String[] join(String[] first, String... second) {
        List<String> all = new ArrayList<>(Arrays.asList(first));
        all.addAll(Arrays.asList(second));
        return all.toArray(String[]::new);
    }
}
