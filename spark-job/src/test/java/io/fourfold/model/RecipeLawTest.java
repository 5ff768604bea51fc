package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.model.RankGroup.StepResult;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * {@link LawTest} for recipes that round. Data and pipeline parallelism leave every operand as it is. Other axes add BF16
 * numbers in another order; what is near a tie then rounds to the other side, and some tokens go to other experts. So the
 * measure is what one rank does to itself with other bits of stochastic rounding.
 */
class RecipeLawTest {
    static final String[] MODEL = {
        "model.layers=4",
        "model.hidden_size=64",
        "model.vocab_size=32",
        "model.init_std=0.1",
        "model.attention={heads: 4, kv_heads: 4, head_dim: 16}",
        "model.ffn={intermediate_size: 64}",
        "model.moe={experts: 8, top_k: 2, intermediate_size: 32, dense_layers: [1]}",
        "model.moe.shared_expert={intermediate_size: 64}",
        "train.sequence_length=64",
        "train.global_batch_size=4",
        "train.optimizer.epsilon=0.01",
    };
    /**
     * A batch without a value so near a tie that FP32 sums of another expert placement round it the other way. Of sixteen
     * seeds, four to seven have one, whichever way the weights are rounded.
     */
    private static final int BATCH_SEED = 3;

    static final String[] LARGER_MODEL = {
        "model.layers=4",
        "model.hidden_size=64",
        "model.vocab_size=32",
        "model.init_std=0.1",
        "model.attention={heads: 8, kv_heads: 4, head_dim: 16}",
        "model.ffn={intermediate_size: 64}",
        "model.moe={experts: 16, top_k: 2, intermediate_size: 64, dense_layers: [1]}",
        "train.sequence_length=128",
        "train.global_batch_size=16",
        "train.optimizer.epsilon=0.01",
    };
    private static final String[] DROPLESS = {"model.moe.shared_expert={intermediate_size: 64}"};
    private static final String[] DROPPING = {
        "model.moe.capacity={factor: 1.0, scope: full_sequence}", "model.moe.router.aux_loss_coeff=0.05",
    };

    private interface Step {
        StepResult run() throws InterruptedException;
    }

    /** What one rank computes, on first use. */
    private static final class Lazy {
        private final Step step;
        private @Nullable StepResult result;

        Lazy(Step step) {
            this.step = step;
        }

        StepResult get() throws InterruptedException {
            if (result == null) {
                result = step.run();
            }
            return result;
        }
    }

    /** Relative, of loss and of all gradients together; with FP32 sums only. */
    private static final double FP32_NOISE = 1e-5;

    @ParameterizedTest
    @CsvSource({"bf16, W2", "bf16, W2 EP2", "bf16, W2 PP2", "nvfp4, W2", "nvfp4, W2 PP2", "nvfp4, W4 PP2 V2"})
    void sameOperandsGiveTheSameStep(String recipe, String mapping) throws Exception {
        compare(recipe, mapping, FP32_NOISE, FP32_NOISE);
    }

    @ParameterizedTest
    @CsvSource({"W2 ETP2", "W2 TP2", "W2 CP2", "W4 CP4 RING", "W4 TP2 CP2", "W4 TP2 EP4", "W8 TP2 CP2 PP2 EP4"})
    void bf16SumsInAnotherOrderStayClose(String mapping) throws Exception {
        compare("bf16", mapping, 1e-3, 0.03);
    }

    @ParameterizedTest
    @CsvSource({
        "W2 EP2",
        "W2 ETP2",
        "W2 TP2",
        "W2 CP2",
        "W4 TP2 CP2 RING",
        "W4 TP2 CP2",
        "W4 TP2 EP4",
        "W8 TP2 CP2 PP2 EP4"
    })
    void nvfp4IsAsCloseAsToItselfWithOtherRandomBits(String mapping) throws Exception {
        FourfoldConfig config = config("nvfp4", "W1");
        Batch batch = TinyModels.batch(config, 4, BATCH_SEED);
        double noise = noiseOf(config, batch, RankGroup.step(config, batch));
        compare("nvfp4", mapping, 1e-2, 1.2 * noise);
    }

    /** How far the gradients of one rank are from those with other bits of stochastic rounding. */
    private static double noiseOf(FourfoldConfig config, Batch batch, StepResult result) throws InterruptedException {
        StepContext step = SingleRank.step(batch);
        StepContext otherBits = new StepContext(
                step.step(), step.seed() + 1, step.lossScale(), step.globalBatchSize(), step.telemetry());
        double noise = gradientError(result, RankGroup.step(config, batch, otherBits));
        assertThat(noise).isBetween(0.1, 0.5);
        return noise;
    }

    /** Every mapping of the law whose pieces are whole blocks, dropless and dropping. */
    @Tag("slow")
    @TestFactory
    Stream<DynamicTest> everyMapping() {
        return Stream.of("bf16", "nvfp4")
                .flatMap(recipe -> Stream.of(DROPLESS, DROPPING).flatMap(routing -> everyMapping(recipe, routing)));
    }

    private static Stream<DynamicTest> everyMapping(String recipe, String[] routing) {
        String[] settings = join(LARGER_MODEL, join(routing, new String[] {"recipe.kind=" + recipe}));
        FourfoldConfig reference = TinyModels.config(settings);
        Batch batch = TinyModels.batch(reference, reference.train().globalBatchSize(), 5);
        Lazy expected = new Lazy(() -> RankGroup.step(reference, batch));
        double[] noise = new double[1];
        return LawMappings.all().stream()
                .filter(mapping -> !mapping.contains("CP8"))
                .map(mapping -> DynamicTest.dynamicTest(recipe + " " + routing[0] + " " + mapping, () -> {
                    if (noise[0] == 0) {
                        noise[0] = recipe.equals("bf16") ? 0.03 : 1.2 * noiseOf(reference, batch, expected.get());
                    }
                    StepResult actual =
                            RankGroup.step(TinyModels.config(join(settings, LawMappings.settings(mapping))), batch);
                    double tolerance = recipe.equals("bf16") ? 1e-3 : 1e-2;
                    assertClose(expected.get(), actual, tolerance, noise[0]);
                }));
    }

    private static void compare(String recipe, String mapping, double loss, double gradient)
            throws InterruptedException {
        FourfoldConfig reference = config(recipe, "W1");
        Batch batch = TinyModels.batch(reference, 4, BATCH_SEED);
        StepResult expected = RankGroup.step(reference, batch);
        StepResult actual = RankGroup.step(config(recipe, mapping), batch);
        assertClose(expected, actual, loss, gradient);
    }

    /**
     * Two results of the same step.
     *
     * @param loss relative
     * @param gradient relative, of all gradients together
     */
    static void assertClose(StepResult expected, StepResult actual, double loss, double gradient) {
        assertThat(Math.abs(actual.loss() - expected.loss()) / expected.loss())
                .as("loss")
                .isLessThan(loss);
        assertThat(actual.gradients().keySet()).isEqualTo(expected.gradients().keySet());
        assertThat(gradientError(expected, actual)).as("all gradients together").isLessThan(gradient);
    }

    private static FourfoldConfig config(String recipe, String mapping) {
        String[] settings = {"recipe.kind=" + recipe};
        return TinyModels.config(join(MODEL, join(settings, LawMappings.settings(mapping))));
    }

    static double gradientError(StepResult expected, StepResult actual) {
        return RelativeError.of(all(expected.gradients()), all(actual.gradients()));
    }

    private static float[] all(Map<String, float[]> parts) {
        float[] all = new float[parts.values().stream().mapToInt(p -> p.length).sum()];
        int at = 0;
        for (float[] part : parts.values()) {
            System.arraycopy(part, 0, all, at, part.length);
            at += part.length;
        }
        return all;
    }

    private static String[] join(String[] first, String[] second) {
        return Stream.concat(Arrays.stream(first), Arrays.stream(second)).toArray(String[]::new);
    }
}
