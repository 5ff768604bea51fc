package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.model.RankGroup.StepResult;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** The law: loss and every gradient equal those of one rank on the same global batch, within FP32 reduction noise. */
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

    private static final String[][] MAPPINGS = {
        {"parallel.world_size=1", "train.micro_batch_size=4"},
        {"parallel.world_size=2"},
        {"parallel.world_size=2", "parallel.expert_parallel_size=2"},
        {"parallel.world_size=2", "parallel.expert_parallel_size=2", "train.micro_batch_size=2"},
        {"parallel.world_size=4", "parallel.expert_parallel_size=2"},
        {"parallel.world_size=4", "parallel.expert_parallel_size=4"},
    };

    @TestFactory
    Stream<DynamicTest> equalsOneRank() {
        return Stream.of(MODELS).flatMap(model -> {
            FourfoldConfig reference = TinyModels.config(model.settings());
            Batch batch = TinyModels.batch(reference, 4, 5);
            return Stream.of(MAPPINGS)
                    .map(mapping -> DynamicTest.dynamicTest(
                            model.name() + " " + String.join(" ", mapping),
                            () -> compare(
                                    RankGroup.step(reference, batch),
                                    RankGroup.step(TinyModels.config(join(model.settings(), mapping)), batch))));
        });
    }

    private static void compare(StepResult expected, StepResult actual) {
        assertThat(actual.loss()).isCloseTo(expected.loss(), Percentage.withPercentage(1e-3));
        assertThat(actual.auxLoss()).isCloseTo(expected.auxLoss(), Offset.offset(1e-5));
        assertThat(actual.zLoss()).isCloseTo(expected.zLoss(), Offset.offset(1e-5));
        assertThat(actual.dropped()).isEqualTo(expected.dropped());
        for (int i = 0; i < expected.load().size(); i++) {
            assertThat(actual.load().get(i).tokens())
                    .isEqualTo(expected.load().get(i).tokens());
        }
        assertThat(actual.state().keySet()).isEqualTo(expected.state().keySet());
        expected.state()
                .forEach((name, values) -> assertThat(actual.state().get(name)).isEqualTo(values));
        assertThat(actual.gradients().keySet()).isEqualTo(expected.gradients().keySet());
        for (Map.Entry<String, float[]> entry : expected.gradients().entrySet()) {
            assertThat(relativeError(entry.getValue(), TinyModels.entry(actual.gradients(), entry.getKey())))
                    .as("gradient of %s", entry.getKey())
                    .isLessThan(1e-5);
        }
    }

    /** Norm of the difference over the norm of the expected gradient. */
    private static double relativeError(float[] expected, float[] actual) {
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < expected.length; i++) {
            difference += Math.pow((double) actual[i] - expected[i], 2);
            norm += Math.pow(expected[i], 2);
        }
        // An expert without tokens has no gradient at all.
        return norm == 0 ? difference : Math.sqrt(difference / norm);
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
                compare(expected, RankGroup.step(parallel, batch));
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
